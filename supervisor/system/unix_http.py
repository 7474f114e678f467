"""
One HTTP exchange over a unix socket, bounded in time and size.

Imports little, because the health check starts a new Python process every few seconds.
"""

import errno
import socket
import time


def exchange(path: str, request: bytes, timeout: float, limit: int) -> tuple[int, bytes]:
    """
    Send a request whose response ends with the connection; return its status and its body.

    `timeout` bounds the whole exchange in seconds, `limit` the response in bytes.  Raises OSError,
    TimeoutError among them.
    """
    until = time.monotonic() + timeout
    response = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.sendall(request)
        while True:
            remaining = until - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "timed out before the response was complete")
            connection.settimeout(remaining)
            chunk = connection.recv(65536)
            if not chunk:
                break
            response += chunk
            if len(response) > limit:
                raise OSError(errno.EMSGSIZE, f"the response exceeds {limit} bytes")
    head, separator, body = response.partition(b"\r\n\r\n")
    parts = head.split(b" ", 2)
    if not separator or len(parts) < 2 or not parts[1].isdigit():
        raise OSError(errno.EPROTO, "the connection closed before a complete response")
    return int(parts[1]), body
