"""
A Nomad agent, as far as service discovery sees it: over TCP and as the Task API.

It is held to what was measured on real agents, so that a client that works here works
there: blocking queries, a table-wide index, the two different ways of refusing a token.
"""

import itertools
import socket
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from tests.support.listening import Listener
from tests.support.nomad_faults import Exchange, Fault
from tests.support.nomad_registry import Registry, Row, go_duration, row
from tests.support.nomad_rules import answered, misunderstood, refused
from tests.support.nomad_script import Script
from tests.support.wire import Reply, Request, read_request

Endpoint = tuple[str, int]

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJnbG9iYWw6ZGVmYXVsdDpsYiJ9.c2lnbmF0dXJl"
NAMESPACE = "default"


class FakeNomad:
    """
    Serves `GET /v1/service/:name` and whatever faults are asked of it.
    """

    def __init__(
        self,
        socket_path: Path | None = None,
        *,
        acl: bool = False,
        token: str = TOKEN,
        port: int = 0,
    ) -> None:
        self.acl = acl
        self.tokens = {token}
        self.requests: list[Request] = []
        self.socket_path = socket_path
        self._registry = Registry()
        self._script = Script()
        self._stopping = threading.Event()
        self._tcp = Listener(("127.0.0.1", port), lambda sock: self._attend(sock, "tcp"))
        self._unix: Listener | None = None
        if socket_path is not None:
            self._unix = Listener(socket_path, lambda sock: self._attend(sock, "unix"))

    def start(self) -> Self:
        """
        Listen, the second time where it listened before.
        """
        self._stopping.clear()
        self._tcp.open()
        if self._unix is not None:
            self._unix.open()
        return self

    def stop(self, *, leave_file: bool = False) -> None:
        """
        Vanish: open queries end without an answer, new ones are refused.

        The socket's file goes (SIGTERM), or stays behind with `leave_file` (kill -9).
        """
        self._stopping.set()
        self._tcp.close()
        if self._unix is not None:
            self._unix.close(leave_file=leave_file)
        self._registry.kick()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """
        The TCP port, the same after a restart.
        """
        assert not isinstance(self._tcp.address, Path)
        return self._tcp.address[1]

    @property
    def address(self) -> str:
        """
        What NOMAD_ADDR would say.
        """
        return f"http://127.0.0.1:{self.port}"

    @property
    def unix_address(self) -> str:
        """
        What NOMAD_UNIX_ADDR would say.
        """
        return f"unix://{self.socket_path}"

    @property
    def index(self) -> int:
        """
        The index of the whole table; may be set, also to a lower one.
        """
        return self._registry.index

    @index.setter
    def index(self, value: int) -> None:
        self._registry.restore(value)

    @property
    def blocked(self) -> int:
        """
        How many queries wait for a change at this moment.
        """
        return self._registry.blocked

    def set(
        self,
        service: str,
        endpoints: Iterable[Endpoint],
        *,
        namespace: str = NAMESPACE,
        job: str = "replicas",
        tags: Sequence[str] = (),
    ) -> None:
        """
        Make these the instances of the service, in one change.
        """
        old = {_identity(entry): entry for entry in self._registry.rows((namespace, service))}
        index = self.index + 1
        rows: dict[object, Row] = {}
        for address, port in endpoints:
            new = row(service, address, port, namespace=namespace, job=job, tags=tags, index=index)
            rows[new["ID"]] = old.get(new["ID"], new)
        self.rows(service, [rows[key] for key in sorted(rows, key=str)], namespace=namespace)

    def add(self, service: str, address: str, port: int, *, namespace: str = NAMESPACE) -> None:
        """
        Register one more instance.
        """
        new = row(service, address, port, namespace=namespace, index=self.index + 1)
        rows = [*self._registry.rows((namespace, service)), new]
        self.rows(service, rows, namespace=namespace)

    def remove(self, service: str, address: str, port: int, *, namespace: str = NAMESPACE) -> None:
        """
        Deregister every instance at this address.
        """
        kept = [
            entry
            for entry in self._registry.rows((namespace, service))
            if not isinstance(entry, dict) or (entry["Address"], entry["Port"]) != (address, port)
        ]
        self.rows(service, kept, namespace=namespace)

    def rows(self, service: str, raw: Iterable[Row], *, namespace: str = NAMESPACE) -> None:
        """
        Serve these rows as they are, whatever they are, in one change.
        """
        self._registry.write((namespace, service), raw)

    def bump(self) -> None:
        """
        Change something else in the table.
        """
        self._registry.bump()

    def fault(self, *faults: Fault, times: int | None = None, now: bool = True) -> None:
        """
        Play the faults, each on `times` requests or on all from now on.

        Queries that block already are broken into, unless `now` is false.
        """
        for fault in faults:
            self._script.add(
                itertools.repeat(fault) if times is None else itertools.repeat(fault, times)
            )
        if now:
            self._registry.kick()

    def heal(self) -> None:
        """
        Be honest again from the next request on.
        """
        self._script.clear()

    def _attend(self, connection: socket.socket, via: str) -> None:
        with connection.makefile("rb") as stream:
            while request := read_request(stream, via):
                self.requests.append(request)
                reply = self._reply(request, connection)
                if reply is None:
                    return
                connection.sendall(reply.encode())
                if not reply.keeps_alive:
                    return

    def _reply(self, request: Request, connection: socket.socket) -> Reply | None:
        while not self._stopping.is_set():
            fault = self._script.take()
            if fault is not None:
                return fault(self._exchange(request, connection))
            reply = self._honest(request)
            if reply is not None:
                return reply
        return None

    def _exchange(self, request: Request, connection: socket.socket) -> Exchange:
        def current() -> Reply:
            return self._honest(request, block=False) or Reply(500)

        return Exchange(
            request, connection, current, lambda: self._honest(request) or current(), self._stopping
        )

    def _honest(self, request: Request, *, block: bool = True) -> Reply | None:
        refusal = refused(request, self.tokens if self.acl else None) or misunderstood(request)
        if refusal is not None:
            return refusal
        query = request.query
        key = (query.get("namespace") or NAMESPACE, request.path.removeprefix("/v1/service/"))
        if not block:
            return answered(request, self._registry.read(key))
        wait = go_duration(query.get("wait") or "0")
        result = self._registry.ask(key, int(query.get("index") or 0), wait)
        return None if result.kicked else answered(request, result)


def _identity(entry: Row) -> object:
    return entry.get("ID") if isinstance(entry, dict) else None
