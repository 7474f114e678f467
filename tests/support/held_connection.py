"""
A connection held open and watched, to see whether a drain completes or cuts it.
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
    One connection, watched until the server closes it.
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
        Connect and send nothing.
        """
        return cls(port)

    @classmethod
    def slow(cls, port: int, seconds: float) -> Self:
        """
        Request a response that takes `seconds`.
        """
        return cls(port, request_bytes(f"/slow?seconds={seconds}"))

    @classmethod
    def sse(cls, port: int, seconds: float, every: float = 0.1) -> Self:
        """
        Read an event stream that would end after `seconds`.
        """
        return cls(port, request_bytes(f"/sse?seconds={seconds}&every={every}"))

    @classmethod
    def websocket(cls, port: int, path: str = "/ws") -> Self:
        """
        Request an upgrade, then keep the tunnel open.
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
        Whether the server has not closed the connection.
        """
        return self.ended is None

    @property
    def lasted(self) -> float:
        """
        Seconds from connecting until the close, or until now.
        """
        return (self.ended or time.monotonic()) - self.began

    @property
    def status(self) -> int:
        """
        The status of the response, 0 while there is none.
        """
        words = self.received.split(b" ", 2)
        return int(words[1]) if self.received.startswith(b"HTTP/") and len(words) > 1 else 0

    @property
    def answer(self) -> Answer | None:
        """
        The complete response, or None if it is incomplete.
        """
        response = http.client.HTTPResponse(_Replayed(self.received))  # type: ignore[arg-type]
        try:
            response.begin()
            return Answer(response.status, response.headers, response.read())
        except (http.client.HTTPException, OSError):
            return None

    def send(self, data: bytes) -> None:
        """
        Send more data.
        """
        self._connection.sendall(data)

    def wait(self, within: float = 10.0) -> float:
        """
        Wait until the connection is closed and return how long it lasted.
        """
        self._reader.join(within)
        if self.open:
            msg = f"the connection is still open after {within:g} s more"
            raise AssertionError(msg)
        return self.lasted

    def close(self) -> None:
        """
        Close the connection.
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
    The part of a socket that HTTPResponse uses, over received bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)
