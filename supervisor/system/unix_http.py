"""
One HTTP exchange over a unix socket, bounded in time and size.

Imports little, because the health check starts a new Python process every few seconds.
"""

import errno
import socket
import struct
import time
from contextlib import suppress


def exchange(path: str, request: bytes, timeout: float, limit: int) -> tuple[int, bytes]:
    """
    Send a request whose response ends with the connection; return its status and its body.

    `timeout` bounds the whole exchange in seconds, `limit` the response in bytes.  Raises OSError,
    TimeoutError among them.
    """
    until = time.monotonic() + timeout
    response = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        _connect(connection, path, timeout)
        connection.settimeout(timeout)
        # A server that refuses a client closes before it reads the request: its response is there.
        # Commands have the default action for SIGPIPE, which would end them without a word.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request, socket.MSG_NOSIGNAL)
        while True:
            remaining = until - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "timed out before the response was complete")
            connection.settimeout(remaining)
            try:
                chunk = connection.recv(65536)
            except ConnectionResetError:  # it was refused, see above
                if not response:
                    raise
                break
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


def _connect(connection: socket.socket, path: str, timeout: float) -> None:
    """Connect; with a full backlog a non-blocking socket, as with a timeout, would fail at once."""
    seconds, fraction = divmod(timeout, 1)
    limit = struct.pack("@ll", int(seconds), int(fraction * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    try:
        connection.connect(path)
    except BlockingIOError:
        raise TimeoutError(errno.ETIMEDOUT, "too many clients wait to be accepted") from None
