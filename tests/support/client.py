"""
A minimal HTTP client: one request on one new connection.

Libraries retry, pool and follow redirects; tests are about exactly one connection.
"""

import http.client
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Answer:
    """
    A complete response.
    """

    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        """
        The body as text.
        """
        return self.body.decode("utf-8", "replace")


def connect(port: int | Path, host: str = "127.0.0.1", timeout: float = 5.0) -> socket.socket:
    """
    Open a connection without Nagle's delay to a port, or to a unix socket's path.
    """
    if isinstance(port, Path):
        local = socket.socket(socket.AF_UNIX)
        local.settimeout(timeout)
        try:
            local.connect(str(port))
        except OSError:
            local.close()
            raise
        return local
    connection = socket.create_connection((host, port), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def request_bytes(
    path: str, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """
    Return the bytes of a request with `Connection: close`.
    """
    lines = {"Host": "test", "Connection": "close", **(headers or {})}
    if body or method == "POST":
        lines["Content-Length"] = str(len(body))
    head = [f"{method} {path} HTTP/1.1", *(f"{n}: {v}" for n, v in lines.items()), "", ""]
    return "\r\n".join(head).encode() + body


def read_answer(connection: socket.socket, method: str = "GET") -> Answer:
    """
    Read one complete response; raises IncompleteRead or RemoteDisconnected if it is cut.
    """
    response = http.client.HTTPResponse(connection, method=method)
    with response:
        response.begin()
        return Answer(response.status, response.headers, response.read())


def get(
    port: int | Path,
    path: str = "/",
    *,
    host: str = "127.0.0.1",
    method: str = "GET",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    timeout: float = 5.0,
) -> Answer:
    """
    Send a request on a new connection to a port, or to a unix socket's path.
    """
    with connect(port, host, timeout) as connection:
        connection.sendall(request_bytes(path, method, body, headers))
        return read_answer(connection, method)
