"""
A connection held open and watched: what a drain lets finish, and what it cuts.
"""

import contextlib
import http.client
import io
import socket
import threading
import time
from typing import Self

from tests.support.client import Answer, connect, request_bytes


class HeldConnection:
    """
    One connection, watched until the other side ends it.
    """

    def __init__(self, port: int, request: bytes = b"", host: str = "127.0.0.1") -> None:
        self.began = time.monotonic()
        self.ended: float | None = None
        self.reset = False
        self.received = b""
        self._connection = connect(port, host)
        self._connection.settimeout(None)
        if request:
            self._connection.sendall(request)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def silent(cls, port: int) -> Self:
        """
        Connect and say nothing.
        """
        return cls(port)

    @classmethod
    def slow(cls, port: int, seconds: float) -> Self:
        """
        Ask for an answer that takes `seconds`.
        """
        return cls(port, request_bytes(f"/slow?seconds={seconds}"))

    @classmethod
    def sse(cls, port: int, seconds: float, every: float = 0.1) -> Self:
        """
        Follow an event stream that would end after `seconds`.
        """
        return cls(port, request_bytes(f"/sse?seconds={seconds}&every={every}"))

    @classmethod
    def websocket(cls, port: int, path: str = "/ws") -> Self:
        """
        Ask for an upgrade, then keep the tunnel open for ever.
        """
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        return cls(port, request_bytes(path, headers=upgrade))

    def _read(self) -> None:
        try:
            while data := self._connection.recv(65536):
                self.received += data
        except ConnectionError:
            self.reset = True
        except OSError:
            pass  # closed by us
        self.ended = time.monotonic()

    @property
    def open(self) -> bool:
        """
        Whether the other side still holds the connection.
        """
        return self.ended is None

    @property
    def lasted(self) -> float:
        """
        Seconds from connecting until the end, or until now.
        """
        return (self.ended or time.monotonic()) - self.began

    @property
    def status(self) -> int:
        """
        The status of the answer, 0 while there is none.
        """
        words = self.received.split(b" ", 2)
        return int(words[1]) if self.received.startswith(b"HTTP/") and len(words) > 1 else 0

    @property
    def answer(self) -> Answer | None:
        """
        The whole answer, or None where it has not come or was cut.
        """
        response = http.client.HTTPResponse(_Replayed(self.received))  # type: ignore[arg-type]
        try:
            response.begin()
            return Answer(response.status, response.headers, response.read())
        except (http.client.HTTPException, OSError):
            return None

    def send(self, data: bytes) -> None:
        """
        Say something more.
        """
        self._connection.sendall(data)

    def wait(self, within: float = 10.0) -> float:
        """
        Return how long the connection lasted, once it ended.
        """
        self._reader.join(within)
        if self.open:
            msg = f"the connection is still open after {within:g} s more"
            raise AssertionError(msg)
        return self.lasted

    def close(self) -> None:
        """
        Hang up.
        """
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._reader.join(5)
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Replayed:
    """
    What HTTPResponse wants of a socket, over bytes that came before.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)
