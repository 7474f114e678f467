"""
The looker: asks nginx which generation it serves, as a client would.

A reload is done when the new configuration answers.  An nginx gone dark accepts and never answers,
so each look has a total bound of 100 ms and happens in a thread of its own.
"""

import socket
import threading
import time
from collections.abc import Callable

from supervisor.events import Event, GenerationSeen

_PATIENCE = 0.1
_REQUEST = b"GET /-/generation HTTP/1.0\r\n\r\n"
_LONGEST = 4096


class Looker:
    """
    A thread that looks every so many seconds, or not at all.
    """

    def __init__(self, path: str, post: Callable[[Event], None]) -> None:
        self._path = path
        self._post = post
        self._every = 0.0
        self.looks = 0
        self._changed = threading.Event()

    def start(self) -> None:
        """Start the thread; it rests until a pace is set."""
        threading.Thread(target=self._run, name="looker", daemon=True).start()

    def pace(self, every: float) -> None:
        """Look every so many seconds from now on; 0 stops looking."""
        self._every = every
        self._changed.set()

    def _run(self) -> None:
        rest: float | None = None
        while True:
            if self._changed.wait(rest):
                self._changed.clear()
                # A brisk pace begins at once; a calm one need not look at what was just seen.
                rest = None if not self._every else self._every if self._every >= 1 else 0
                continue
            self.looks += 1
            self._post(GenerationSeen(ask(self._path, _PATIENCE)))
            rest = self._every or None


def ask(path: str, patience: float) -> str | None:
    """
    Return the generation that answers on a unix socket within `patience` seconds, or None.
    """
    until = time.monotonic() + patience
    received = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(patience)
            line.connect(path)
            line.sendall(_REQUEST)
            while len(received) < _LONGEST:
                line.settimeout(max(0.001, until - time.monotonic()))
                chunk = line.recv(_LONGEST)
                if not chunk:
                    break
                received += chunk
                if time.monotonic() > until:
                    return None
    except OSError:
        return None
    head, separator, body = received.partition(b"\r\n\r\n")
    answered = separator and head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
    return body.decode("ascii", "replace").strip() if answered else None
