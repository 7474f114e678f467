"""
As much HTTP as is spoken on the internal sockets, by hand: `http.server` is half a megabyte more.

A request has to be whole within a few seconds, however it is dripped; what is no request is refused
in one line.  Nothing of a client's text is ever sent back to it.
"""

import socket
import time
from dataclasses import dataclass
from http import HTTPStatus

_LARGEST_HEAD = 16384
_LARGEST_BODY = 4096

#: The names of the methods that are told apart; any other is "not allowed" all the same.
READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Request:
    """
    What a client wants; the path is without its query.
    """

    method: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """
    What it gets.
    """

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class BadRequest(Exception):
    """
    What came is no request: the answer to it.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.answer = Response(status, f"{text}\n".encode())


def receive(connection: socket.socket, within: float) -> Request | None:
    """
    Read one request; None where the client went away or took too long.

    Raises Refusal for what is no request, OSError where the line is broken.
    """
    until = time.monotonic() + within
    received = b""
    while b"\r\n\r\n" not in received:
        if len(received) > _LARGEST_HEAD:
            raise BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is too large")
        chunk = _more(connection, until)
        if not chunk:
            return None
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "expected METHOD PATH HTTP/1.1")
    size = _body_size(lines)
    while len(body) < size:
        chunk = _more(connection, until)
        if not chunk:
            return None
        body += chunk
    return Request(words[0], words[1].partition("?")[0], body[:size])


def send(connection: socket.socket, answer: Response, within: float, *, only_head: bool) -> None:
    """
    Write an answer and its end.  Raises OSError where the client does not take it.
    """
    head = [
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
        f"Content-Type: {answer.kind}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *(f"{name}: {value}" for name, value in answer.headers),
    ]
    connection.settimeout(within)
    connection.sendall("\r\n".join([*head, "", ""]).encode() + (b"" if only_head else answer.body))


def _body_size(lines: list[str]) -> int:
    headers = [(name.strip().lower(), value.strip()) for name, _, value in map(_split, lines)]
    if any(name == "transfer-encoding" for name, _ in headers):
        raise BadRequest(HTTPStatus.LENGTH_REQUIRED, "expected Content-Length and a whole body")
    sizes = {value for name, value in headers if name == "content-length"}
    if len(sizes) > 1 or not all(size.isascii() and size.isdigit() for size in sizes):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "expected one whole number as Content-Length")
    size = int(min(sizes, default="0")[:10])
    if size > _LARGEST_BODY:
        raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large")
    return size


def _split(connection: str) -> tuple[str, str, str]:
    return connection.partition(":")


def _more(connection: socket.socket, until: float) -> bytes:
    left = until - time.monotonic()
    if left <= 0:
        return b""
    connection.settimeout(left)
    return connection.recv(8192)
