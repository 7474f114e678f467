"""
Many requests in little time: pipelined, on one connection after the other.

An older nginx answers one request on each connection; then it takes a little longer.
"""

import socket
import time

from tests.support.client import connect

_BATCH = 100
_END = b"\r\n\r\nready\n"


def send_pipelined(port: int, count: int, path: str = "/-/ready", stall: float = 5.0) -> float:
    """
    Send `count` requests to a path that answers `ready`; return the longest time of a batch.

    Raises TimeoutError if nothing arrives for `stall` seconds.
    """
    longest, sent = 0.0, 0
    while sent < count:
        with connect(port, timeout=stall) as connection:
            longest, sent = _on_one(connection, path, count, sent, longest)
    return longest


def _on_one(
    connection: socket.socket, path: str, count: int, sent: int, longest: float
) -> tuple[float, int]:
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    while sent < count:
        batch = min(_BATCH, count - sent)
        began, received = time.monotonic(), b""
        try:
            connection.sendall(request * batch)
            while received.count(_END) < batch and (data := connection.recv(1 << 16)):
                received += data
        except (ConnectionResetError, BrokenPipeError):
            pass  # it closed after a response, during the next write
        longest = max(longest, time.monotonic() - began)
        answered = received.count(_END)
        sent += answered
        if answered < batch:
            break
    return longest, sent
