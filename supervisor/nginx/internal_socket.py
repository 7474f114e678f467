"""
nginx's internal unix sockets: the generation that it serves, and its connection counters.

A reload is complete when nginx reports the new generation.  A hanging nginx accepts connections and
never responds, so each request is limited to 100 ms in total, and a separate thread polls.
"""

import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from supervisor.core.events import Event, GenerationReported
from supervisor.nginx.socket_names import DIGITS, PATTERNS
from supervisor.system.unix_http import exchange

#: Limits of one request, in seconds and bytes.
_TIMEOUT = 0.1
_MAX_RESPONSE = 4096

#: Seconds between two requests to the public port, which may each take half a second.
_PUBLIC_INTERVAL = 0.5

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


def new_run() -> str:
    """
    Return the random part of this run's socket names.
    """
    return "".join(secrets.choice(DIGITS) for _ in range(5))


def remove_sockets(folder: Path, keep: Iterable[str] = ()) -> None:
    """
    Remove the sockets of masters that have exited; the socket of an old master may be among them.
    """
    kept = frozenset(keep)
    for pattern in PATTERNS:
        for path in folder.glob(pattern):
            if path.name not in kept:
                with suppress(OSError):  # a name that is never used again may stay
                    path.unlink(missing_ok=True)


class GenerationSockets:
    """
    The sockets on which nginx may report its generation, the newest first.

    During a reload these are those of the attempt and of the last good configuration.  The file
    writer changes them, other threads read them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.paths: tuple[str, ...] = ()

    def add(self, name: str) -> None:
        """Add the socket of an attempt."""
        self.paths = (str(self._folder / name), *self.paths)

    def discard(self, name: str) -> None:
        """Drop the socket of an attempt that is not used."""
        self.paths = tuple(path for path in self.paths if path != str(self._folder / name))

    def keep(self, name: str) -> None:
        """Drop all sockets but this one, on which nginx has reported its generation."""
        self.paths = (str(self._folder / name),)


def read_generation(sockets: GenerationSockets) -> str | None:
    """
    Return the generation that nginx serves, or None when it does not respond within 100 ms.
    """
    body = _get(sockets, _GENERATION)
    return None if body is None else body.decode("ascii", "replace").strip()


def read_counters(sockets: GenerationSockets) -> Counters | None:
    """
    Return nginx's connection counters, or None when it does not respond within 100 ms.
    """
    found = _COUNTERS.search(_get(sockets, _CONNECTIONS) or b"")
    return Counters(*map(int, found.groups())) if found else None


def _get(sockets: GenerationSockets, request: bytes) -> bytes | None:
    """Return the first response; a socket that does not exist yet or any more fails at once."""
    for path in sockets.paths:
        try:
            status, body = exchange(path, request, _TIMEOUT, _MAX_RESPONSE)
        except OSError:
            continue
        if status == 200:
            return body
    return None


class GenerationPoller:
    """
    A thread that requests the generation at an interval; it starts paused.

    While there is no response it also reports whether the public port answers, but not at the first
    time, which is usually the last.
    """

    def __init__(
        self,
        sockets: GenerationSockets,
        post: Callable[[Event], None],
        public_port_answers: Callable[[], bool],
    ) -> None:
        self._sockets = sockets
        self._public_port_answers = public_port_answers
        self._silent = 0
        self._asked_at = 0.0
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
            generation = read_generation(self._sockets)
            self.polls += generation is not None  # else nginx has counted no request
            self._silent = self._silent + 1 if generation is None else 0
            self._post(GenerationReported(generation, self._ask_public_port()))
            pause = self._interval or None

    def _ask_public_port(self) -> bool | None:
        """Return whether the public port answers; None if it was not asked."""
        if self._silent < 2 or time.monotonic() < self._asked_at + _PUBLIC_INTERVAL:
            return None
        answers = self._public_port_answers()
        self.polls += answers
        self._asked_at = time.monotonic()
        return answers
