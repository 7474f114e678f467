"""
The part of HTTP that the admin sockets need; `http.server` would cost half a megabyte more.

A request must be complete within a few seconds, however slowly it is sent.  An invalid request gets
a response of one line.  No text from a client is ever sent back.
"""

import socket
import time
from http import HTTPStatus

from supervisor.core.values import value_class

_MAX_HEAD = 16384
_MAX_BODY = 4096

#: The methods that read; all others except POST are not allowed on any path.
READING = frozenset({"GET", "HEAD"})


@value_class(frozen=True, slots=True)
class Request:
    """
    A request; `path` has no query.
    """

    method: str
    path: str
    body: bytes


@value_class(frozen=True, slots=True)
class Response:
    """
    A response; `content_type` is its Content-Type.
    """

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class BadRequest(Exception):
    """
    A client sent an invalid request; `response` is the response to it.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.response = Response(status, f"{text}\n".encode())


def receive(connection: socket.socket, within: float) -> Request | None:
    """
    Read one request; None if the client disconnected or took longer than `within` seconds.

    Raises BadRequest for an invalid request, OSError for a broken connection.
    """
    until = time.monotonic() + within
    received = b""
    while b"\r\n\r\n" not in received:
        if len(received) > _MAX_HEAD:
            raise BadRequest(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request header is too large"
            )
        chunk = _receive_chunk(connection, until)
        if not chunk:
            return None
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "expected METHOD PATH HTTP/1.1")
    size = _body_size(lines)
    while len(body) < size:
        chunk = _receive_chunk(connection, until)
        if not chunk:
            return None
        body += chunk
    return Request(parts[0], parts[1].partition("?")[0], body[:size])


def send(connection: socket.socket, response: Response, within: float, *, only_head: bool) -> None:
    """
    Send a response.  Raises OSError if the client does not read it within `within` seconds.
    """
    head = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *(f"{name}: {value}" for name, value in response.headers),
    ]
    connection.settimeout(within)
    connection.sendall(
        "\r\n".join([*head, "", ""]).encode() + (b"" if only_head else response.body)
    )


def _body_size(lines: list[str]) -> int:
    headers = [
        (name.strip().lower(), value.strip()) for name, _, value in map(_split_header, lines)
    ]
    if any(name == "transfer-encoding" for name, _ in headers):
        raise BadRequest(
            HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length and a complete body"
        )
    sizes = {value for name, value in headers if name == "content-length"}
    if len(sizes) > 1 or not all(size.isascii() and size.isdigit() for size in sizes):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "expected one integer as Content-Length")
    size = int(min(sizes, default="0")[:10])
    if size > _MAX_BODY:
        raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request body is too large")
    return size


def _split_header(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def _receive_chunk(connection: socket.socket, until: float) -> bytes:
    left = until - time.monotonic()
    if left <= 0:
        return b""
    connection.settimeout(left)
    return connection.recv(8192)
