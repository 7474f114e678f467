"""
A fake Nomad agent for service discovery: over TCP and as the Task API.

It behaves as measured on real agents: blocking queries, a table-wide index, and the two different
ways of rejecting a token.
"""

import itertools
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.support.listening import Listener
from tests.support.nomad_fault_queue import FaultQueue
from tests.support.nomad_faults import Exchange, Fault
from tests.support.nomad_registry import go_duration
from tests.support.nomad_rules import (
    SERVICES,
    VARIABLE,
    compressed,
    rejection,
    service_of,
    service_reply,
    services_reply,
    token_of,
)
from tests.support.nomad_state import NAMESPACE, Endpoint, NomadState
from tests.support.nomad_variables import Variables
from tests.support.wire import Reply, Request, read_request

__all__ = ["TOKEN", "Endpoint", "FakeNomad"]

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJnbG9iYWw6ZGVmYXVsdDpsYiJ9.c2lnbmF0dXJl"


class FakeNomad(NomadState):
    """
    Serves `GET /v1/service/:name`, checks, variables, the stop of a job, and configured faults.

    `rights` are the capabilities that a policy gives to its tokens, none at first: a valid token is
    enough to read services, and with ACLs off every request is allowed.
    """

    def __init__(
        self,
        socket_path: Path | None = None,
        *,
        acl: bool = False,
        token: str = TOKEN,
        port: int = 0,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self.acl = acl
        self._is_secure = tls is not None
        self.tokens = {token}
        self.rights: set[str] = set()
        self.requests: list[Request] = []
        self.socket_path = socket_path
        super().__init__()
        self.variables = Variables()
        self._faults = FaultQueue()
        self._stopping = threading.Event()
        self._tcp = Listener(("127.0.0.1", port), lambda sock: self._serve(sock, "tcp"), tls)
        self._unix: Listener | None = None
        if socket_path is not None:
            self._unix = Listener(socket_path, lambda sock: self._serve(sock, "unix"))

    def start(self) -> Self:
        """
        Listen; after a stop on the same port and path.
        """
        self._stopping.clear()
        self._tcp.open()
        if self._unix is not None:
            self._unix.open()
        return self

    def stop(self, *, leave_file: bool = False) -> None:
        """
        Stop: open queries end without a response, new ones are refused.

        The socket's file is removed (SIGTERM), or stays with `leave_file` (kill -9).
        """
        self._stopping.set()
        self._tcp.close()
        if self._unix is not None:
            self._unix.close(leave_file=leave_file)
        self._registry.interrupt()
        self.variables.interrupt()

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
        The value for NOMAD_ADDR.
        """
        return f"{'https' if self._is_secure else 'http'}://127.0.0.1:{self.port}"

    @property
    def unix_address(self) -> str:
        """
        The address of the socket for NOMAD_ADDR.
        """
        return f"unix://{self.socket_path}"

    @property
    def blocked(self) -> int:
        """
        How many queries are blocked now.
        """
        return self._registry.blocked

    def fault(self, *faults: Fault, times: int | None = None, now: bool = True) -> None:
        """
        Play the faults, each for `times` requests or for all further ones.

        Blocked queries are interrupted, unless `now` is false.
        """
        for fault in faults:
            self._faults.add(
                itertools.repeat(fault) if times is None else itertools.repeat(fault, times)
            )
        if now:
            self._registry.interrupt()
            self.variables.interrupt()

    def heal(self) -> None:
        """
        Respond correctly from the next request on.
        """
        self._faults.clear()

    def _serve(self, connection: socket.socket, via: str) -> None:
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
            fault = self._faults.take()
            if fault is not None:
                return fault(self._exchange(request, connection))
            reply = self._correct_reply(request)
            if reply is not None:
                return reply
        return None

    def _exchange(self, request: Request, connection: socket.socket) -> Exchange:
        def current() -> Reply:
            return self._correct_reply(request, block=False) or Reply(500)

        return Exchange(
            request,
            connection,
            current,
            lambda: self._correct_reply(request) or current(),
            self._stopping,
        )

    def _correct_reply(self, request: Request, *, block: bool = True) -> Reply | None:
        tokens = self.tokens if self.acl else None
        reply = rejection(request, tokens)
        if reply is None:
            is_valid = tokens is None or token_of(request) in tokens
            rights = None if tokens is None else self.rights if is_valid else ()
            if request.path.startswith(VARIABLE):
                reply = self.variables.reply(request, rights, block=block)
                return None if reply is None else compressed(request, reply)
            reply = self._workloads.reply(request, rights)
        if reply is not None:
            return compressed(request, reply)
        query = request.query
        if request.path == SERVICES:
            namespace = query.get("namespace") or NAMESPACE
            rows = self._registry.all_rows()
            return compressed(request, services_reply(rows, namespace, every=not self.acl))
        key = (query.get("namespace") or NAMESPACE, service_of(request))
        if not block:
            return service_reply(request, self._registry.read(key))
        wait = go_duration(query.get("wait") or "0")
        result = self._registry.query(key, int(query.get("index") or 0), wait)
        return None if result.interrupted else service_reply(request, result)
