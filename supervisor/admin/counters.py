"""
What nginx counts of its connections (`stub_status`), asked on its internal socket.
"""

import re
import socket
import time
from pathlib import Path
from typing import NamedTuple

_REQUEST = b"GET /-/connections HTTP/1.0\r\n\r\n"
_LONGEST = 4096
_PATIENCE = 0.1

_ANSWER = re.compile(
    rb"Active connections: (\d+)\s+server accepts handled requests\s+(\d+) (\d+) (\d+)\s+"
    rb"Reading: (\d+) Writing: (\d+) Waiting: (\d+)"
)


class Counters(NamedTuple):
    """
    In the order in which nginx writes them; the second to fourth only grow.
    """

    active: int
    accepted: int
    handled: int
    requests: int
    reading: int
    writing: int
    waiting: int


def read_counters(path: Path) -> Counters | None:
    """
    Ask nginx, for a tenth of a second at most; None when it does not answer.
    """
    until = time.monotonic() + _PATIENCE
    received = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(_PATIENCE)
            line.connect(str(path))
            line.sendall(_REQUEST)
            while len(received) < _LONGEST:
                line.settimeout(max(0.001, until - time.monotonic()))
                chunk = line.recv(_LONGEST)
                if not chunk:
                    break
                received += chunk
    except OSError:
        return None
    found = _ANSWER.search(received)
    return Counters(*map(int, found.groups())) if found else None
