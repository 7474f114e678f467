"""
Many requests in little time: several on their way at once, on one connection after the other.

Of an older nginx each connection carries one request; then it takes a little more time.
"""

import socket
import time

from tests.support.client import connect

_AT_ONCE = 100
_END = b"\r\n\r\nready\n"


def send_pipelined(port: int, count: int, path: str = "/-/ready", stall: float = 5.0) -> float:
    """
    Ask for what answers `ready`, so many times, and return the longest that a batch took.

    Raises TimeoutError where nothing came for `stall` seconds.
    """
    longest, asked = 0.0, 0
    while asked < count:
        with connect(port, timeout=stall) as connection:
            longest, asked = _on_one(connection, path, count, asked, longest)
    return longest


def _on_one(
    connection: socket.socket, path: str, count: int, asked: int, longest: float
) -> tuple[float, int]:
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    while asked < count:
        batch = min(_AT_ONCE, count - asked)
        began, received = time.monotonic(), b""
        try:
            connection.sendall(request * batch)
            while received.count(_END) < batch and (data := connection.recv(1 << 16)):
                received += data
        except (ConnectionResetError, BrokenPipeError):
            pass  # it closed after an answer, while we wrote the next
        longest = max(longest, time.monotonic() - began)
        answered = received.count(_END)
        asked += answered
        if answered < batch:
            break
    return longest, asked
