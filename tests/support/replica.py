"""
A backend that responds with its name, counts executed requests, and can be slow.
"""

import base64
import hashlib
import threading
import time
from collections import Counter
from pathlib import Path
from socket import socket
from typing import Self

from tests.support.listening import Listener
from tests.support.wire import Reply, Request, read_request

WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Replica:
    """
    A small threaded HTTP server; its body is its name unless the path says otherwise.

    `/slow?seconds=`  the name, later
    `/sse?seconds=&every=`  an event stream
    `/die`  closes the connection without a response
    `/headers`  the request's own headers, a line each
    any POST  its body back, counted in `executed`
    an upgrade  101, then every byte back
    """

    def __init__(self, name: str, address: str = "127.0.0.1", port: int = 0) -> None:
        self.name = name
        self.requests: Counter[str] = Counter()
        self.executed: Counter[bytes] = Counter()
        self.seen: list[Request] = []
        self._stopping = threading.Event()
        self._listener = Listener((address, port), self._handle)

    def start(self) -> Self:
        """
        Listen; after a stop on the same port again.
        """
        self._stopping.clear()
        self._listener.open()
        return self

    def stop(self, *, abrupt: bool = True) -> None:
        """
        Refuse new connections; `abrupt` cuts the open ones, as a killed process does.
        """
        if abrupt:
            self._stopping.set()
        self._listener.close(cut=abrupt)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> tuple[str, int]:
        """
        Address and port, as the registry lists them.
        """
        assert not isinstance(self._listener.address, Path)
        return self._listener.address

    @property
    def port(self) -> int:
        """
        The port alone.
        """
        return self.endpoint[1]

    @property
    def total(self) -> int:
        """
        The number of requests of any kind.
        """
        return sum(self.requests.values())

    def _handle(self, connection: socket) -> None:
        with connection.makefile("rb") as stream:
            while request := read_request(stream):
                self.seen.append(request)
                self.requests[f"{request.method} {request.path}"] += 1
                if request.headers["Sec-WebSocket-Key"]:
                    self._tunnel(request, connection)
                    return
                if request.path == "/sse":
                    self._stream(request, connection)
                    return
                reply = self._reply(request)
                if reply is None:
                    return
                connection.sendall(reply.encode())
                if not reply.keeps_alive:
                    return

    def _reply(self, request: Request) -> Reply | None:
        if request.path == "/die":
            return None
        if request.path == "/slow" and self._stopping.wait(
            float(request.query.get("seconds", "1"))
        ):
            return None
        body = self.name.encode()
        if request.path == "/headers":
            body = "\n".join(f"{n}: {v}" for n, v in request.headers.items()).encode()
        if request.method == "POST":
            self.executed[request.body] += 1
            body = request.body
        headers = {"Content-Type": "text/plain", "X-Replica": self.name}
        if (request.headers["Connection"] or "").lower() == "close":
            headers["Connection"] = "close"
        return Reply(200, body, headers)

    def _stream(self, request: Request, connection: socket) -> None:
        every = float(request.query.get("every", "0.1"))
        end = time.monotonic() + float(request.query.get("seconds", "5"))
        headers = {
            "Content-Type": "text/event-stream",
            "X-Replica": self.name,
            "Transfer-Encoding": "chunked",
        }
        connection.sendall(Reply(headers=headers).head())
        while time.monotonic() < end:
            event = f"data: {self.name}\n\n".encode()
            connection.sendall(b"%x\r\n%b\r\n" % (len(event), event))
            if self._stopping.wait(every):
                return
        connection.sendall(b"0\r\n\r\n")

    def _tunnel(self, request: Request, connection: socket) -> None:
        key = (request.headers["Sec-WebSocket-Key"] + WEBSOCKET_GUID).encode()
        accept = base64.b64encode(hashlib.sha1(key).digest()).decode()  # noqa: S324
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept}",
            f"X-Replica: {self.name}",
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        while data := connection.recv(65536):
            connection.sendall(data)
