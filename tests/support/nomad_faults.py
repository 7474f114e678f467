"""
Faults of a Nomad that responds incorrectly, each a callable.

A fault handles the whole exchange: it returns the reply to send, or writes to the connection itself
and returns None, after which the connection is closed.  A fault does not block like a normal query,
unless its docstring says so.
"""

import gzip
import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tests.support.wire import Reply, Request

MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Exchange:
    """
    The input of a fault: the request, the correct replies, and the connection.

    `current` returns the correct reply at once, `after_wait` the one after blocking.
    """

    request: Request
    connection: socket.socket
    current: Callable[[], Reply]
    after_wait: Callable[[], Reply]
    stopping: threading.Event

    def write(self, data: bytes) -> None:
        """
        Send bytes unchanged.
        """
        self.connection.sendall(data)

    def drip(self, data: bytes, every: float) -> None:
        """
        Send one byte at a time until all are sent or the server stops.
        """
        for position in range(len(data)):
            self.write(data[position : position + 1])
            if self.stopping.wait(every):
                return


Fault = Callable[[Exchange], Reply | None]


def status(code: int, body: str = "", headers: Mapping[str, str] | None = None) -> Fault:
    """
    Respond with this status, in plain text like all of Nomad's errors.
    """
    head = {"Content-Type": "text/plain; charset=utf-8", **(headers or {})}
    return lambda _: Reply(code, body.encode(), head)


def too_many(retry_after: str | None = None) -> Fault:
    """
    Respond with 429 and close the connection; `retry_after`: seconds or a date.
    """
    headers = {"Connection": "close"}
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    text = "Your IP is issuing too many concurrent connections, please rate limit your calls\n"
    return status(429, text, headers)


def redirect(location: str, code: int = 301) -> Fault:
    """
    Redirect the client; it must not send its token along.
    """
    return status(code, "", {"Location": location})


def hang(seconds: float | None = None) -> Fault:
    """
    Send no response, until the server stops or `seconds` are over.
    """

    def play(exchange: Exchange) -> None:
        exchange.stopping.wait(seconds)

    return play


def cut() -> Fault:
    """
    Close the connection without a response.
    """
    return lambda _: None


def raw(data: bytes) -> Fault:
    """
    Send exactly these bytes and close.
    """
    return lambda exchange: exchange.write(data)


def truncated() -> Fault:
    """
    Announce the whole body and send half of it.
    """

    def play(exchange: Exchange) -> None:
        reply = exchange.current()
        exchange.write(reply.head() + reply.body[: len(reply.body) // 2])

    return play


def header_drip(every: float = 0.2) -> Fault:
    """
    Send the correct reply a byte at a time, from the status line on.
    """
    return lambda exchange: exchange.drip(exchange.current().encode(), every)


def body_drip(every: float = 0.2) -> Fault:
    """
    Send the correct headers at once, then the body a byte at a time.
    """

    def play(exchange: Exchange) -> None:
        reply = exchange.current()
        exchange.write(reply.head())
        exchange.drip(reply.body, every)

    return play


def huge(size: int = 100 * MEGABYTE) -> Fault:
    """
    Stream a valid JSON list of `size` bytes, made of blanks.
    """

    def play(exchange: Exchange) -> None:
        headers = {**exchange.current().headers, "Content-Length": str(size + 2)}
        exchange.write(Reply(headers=headers).head() + b"[")
        for _ in range(size // MEGABYTE):
            exchange.write(b" " * MEGABYTE)
        exchange.write(b" " * (size % MEGABYTE) + b"]")

    return play


def gzip_bomb(size: int = 1024 * MEGABYTE) -> Fault:
    """
    Send a compressed body of `size` bytes of JSON blanks, a thousandth of that on the wire.
    """
    mega = gzip.compress(b" " * MEGABYTE)

    def play(exchange: Exchange) -> Reply:
        body = gzip.compress(b"[") + mega * (size // MEGABYTE) + gzip.compress(b"]")
        return Reply(200, body, {**exchange.current().headers, "Content-Encoding": "gzip"})

    return play


def body(text: str | bytes) -> Fault:
    """
    Respond with the correct index, but this body.
    """
    data = text.encode() if isinstance(text, str) else text
    return lambda exchange: replace(exchange.current(), status=200, body=data)


GARBAGE: Mapping[str, bytes] = {
    "empty": b"",
    "null": b"null",
    "nan": b"NaN",
    "infinity": b'[{"Address": "10.0.0.1", "Port": Infinity}]',
    "deep": b"[" * 200_000,
    "deep and closed": b"[" * 200_000 + b"]" * 200_000,
    "a 5,000-digit port": b'[{"Address": "10.0.0.1", "Port": ' + b"9" * 5000 + b"}]",
    "an object": b'{"Address": "10.0.0.1", "Port": 80}',
    "a string": b'"10.0.0.1:80"',
    "a number": b"7",
    "true": b"true",
    "rows that are no objects": b'[null, 1, "x", [], true]',
    "rows of wrong types": b'[{"Address": 10, "Port": "80"}, {"Address": null, "Port": true}]',
    "rows without fields": b"[{}, {}]",
    "half": b'[{"Address": "10.0.0.1", "Po',
    "html": b"<html><body>503 Service Unavailable</body></html>",
    "not utf-8": b"\xff\xfe\x00[\xc3\x28]",
    "zero bytes": b"\0" * 100,
}


def with_index(value: str | None) -> Fault:
    """
    Respond with the correct rows at once, with another X-Nomad-Index or without one.
    """

    def play(exchange: Exchange) -> Reply:
        reply = exchange.current()
        headers = {n: v for n, v in reply.headers.items() if n != "X-Nomad-Index"}
        if value is not None:
            headers["X-Nomad-Index"] = value
        return replace(reply, headers=headers)

    return play


def without_blocking() -> Fault:
    """
    Respond with the correct rows and index without blocking: a client that trusts it spins.
    """
    return lambda exchange: exchange.current()


def stale(last_contact: int = 60_000, *, leader: bool = False) -> Fault:
    """
    Block as usual, and respond like a server that has lost its leader.
    """

    def play(exchange: Exchange) -> Reply:
        reply = exchange.after_wait()
        headers = {
            **reply.headers,
            "X-Nomad-LastContact": str(last_contact),
            "X-Nomad-KnownLeader": json.dumps(leader),
        }
        return replace(reply, headers=headers)

    return play


def empty() -> Fault:
    """
    Respond without rows, with the correct index, like a registry during a restore.
    """
    return body("[]")
