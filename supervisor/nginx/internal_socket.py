"""
nginx's internal unix socket: the generation that it serves, and its connection counters.

A reload is complete when nginx reports the new generation.  A hanging nginx accepts connections and
never responds, so each request is limited to 100 ms in total, and a separate thread polls.
"""

import re
import threading
from collections.abc import Callable
from typing import NamedTuple

from supervisor.core.events import Event, GenerationReported
from supervisor.system.unix_http import exchange

#: Name of the socket in RUNTIME_DIR; `nginx.conf.j2` listens on it.
SOCKET_NAME = "generation.sock"

#: Limits of one request, in seconds and bytes.
_TIMEOUT = 0.1
_MAX_RESPONSE = 4096

_GENERATION = b"GET /-/generation HTTP/1.0\r\n\r\n"
_CONNECTIONS = b"GET /-/connections HTTP/1.0\r\n\r\n"

#: The output of `stub_status`.
_COUNTERS = re.compile(
    rb"Active connections: (\d+)\s+server accepts handled requests\s+(\d+) (\d+) (\d+)\s+"
    rb"Reading: (\d+) Writing: (\d+) Waiting: (\d+)"
)


class Counters(NamedTuple):
    """
    nginx's counters, in its own order; `accepted`, `handled` and `requests` only grow.
    """

    active: int
    accepted: int
    handled: int
    requests: int
    reading: int
    writing: int
    waiting: int


def read_generation(path: str) -> str | None:
    """
    Return the generation that nginx serves, or None when it does not respond within 100 ms.
    """
    body = _get(path, _GENERATION)
    return None if body is None else body.decode("ascii", "replace").strip()


def read_counters(path: str) -> Counters | None:
    """
    Return nginx's connection counters, or None when it does not respond within 100 ms.
    """
    found = _COUNTERS.search(_get(path, _CONNECTIONS) or b"")
    return Counters(*map(int, found.groups())) if found else None


def _get(path: str, request: bytes) -> bytes | None:
    try:
        status, body = exchange(path, request, _TIMEOUT, _MAX_RESPONSE)
    except OSError:
        return None
    return body if status == 200 else None


class GenerationPoller:
    """
    A thread that requests the generation at an interval; it starts paused.
    """

    def __init__(self, path: str, post: Callable[[Event], None]) -> None:
        self._path = path
        self._post = post
        self._interval = 0.0
        self.polls = 0
        self._interval_changed = threading.Event()

    def start(self) -> None:
        """Start the thread; it waits until an interval is set."""
        threading.Thread(target=self._run, name="generation", daemon=True).start()

    def set_interval(self, interval: float) -> None:
        """Poll every `interval` seconds from now on; 0 stops polling."""
        self._interval = interval
        self._interval_changed.set()

    def _run(self) -> None:
        pause: float | None = None
        while True:
            if self._interval_changed.wait(pause):
                self._interval_changed.clear()
                # A short interval begins with a poll; a long one follows a poll that was just made.
                interval = self._interval
                pause = None if not interval else interval if interval >= 1 else 0
                continue
            self.polls += 1
            self._post(GenerationReported(read_generation(self._path)))
            pause = self._interval or None
