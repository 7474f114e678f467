"""
Whether nginx answers on its public port, which decides before its process is touched.

The request has no Host, so a worker of nginx itself answers it with 400: it reaches no replica and
none of the operator's files.
"""

import socket
import time
from collections.abc import Iterable

from supervisor.nginx.host_limits import listen_address

_REQUEST = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
_ANSWER = b"HTTP/"

#: Limit of one request, in seconds.
_TIMEOUT = 0.5

#: Where to connect when nginx listens on all addresses.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here


def answers(listen: Iterable[str]) -> bool:
    """
    Return whether one of these arguments of `listen` answers a request.
    """
    return any(_answers(*listen_address(argument)) for argument in listen)


def _answers(host: str, port: int) -> bool:
    until, received = time.monotonic() + _TIMEOUT, b""
    try:
        with socket.create_connection(
            (_LOOPBACK.get(host, host), port), timeout=_TIMEOUT
        ) as connection:
            connection.sendall(_REQUEST)
            while len(received) < len(_ANSWER):
                connection.settimeout(max(0.001, until - time.monotonic()))
                chunk = connection.recv(64)
                if not chunk:
                    return False
                received += chunk
    except OSError:
        return False
    return received.startswith(_ANSWER)
