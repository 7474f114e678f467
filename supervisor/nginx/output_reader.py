"""
What nginx writes to its error log: read immediately, logged, and searched for events.
"""

import os
import re
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from supervisor.core.events import EndpointsSuspected, Protocol, ProtocolRefused, WorkerDied
from supervisor.core.model import NEVER
from supervisor.nginx.failed_connections import Suspects, unreachable
from supervisor.nginx.last_lines import LastLines
from supervisor.nginx.lost_requests import LostRequests
from supervisor.nginx.refused_protocols import refused_protocol

_LINE = re.compile(
    r"(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d )?"
    r"\[(?P<level>\w+)\] (?:(?P<pid>\d{1,10})#\d+: )?(?P<text>.*)",
    re.DOTALL,
)
#: With `error_log stderr warn` nginx logs only unexpected exits; a requested one is a notice.
_WORKER_EXIT = re.compile(r"worker process [0-9]+ exited")
#: Each reload replaces the socket of the generation, which nginx reports as a warning.
_SOCKET_REPLACED = re.compile(r"deleting socket .*/(?:gen|cur)-[0-9a-z]+-[0-9a-z]+\.sock$")
_LEVELS = {"emerg": "error", "alert": "error", "crit": "error", "error": "error", "warn": "warning"}
_PIPE_SIZE = 1 << 20

#: How long after the reason the exit may be noticed, in seconds.
_EXIT_DELAY = 3.0

#: How long the same hint is left out after it was logged, in seconds: nginx may log each request.
_HINT_PAUSE = 60.0

#: The most that is read of one line, in bytes.
MAX_LINE = 16384

#: Called with what nginx's output reports, from any thread.
Report = Callable[[WorkerDied | EndpointsSuspected | ProtocolRefused], None]

#: Returns what to do about a line of nginx, or nothing.
Advise = Callable[[str], str]


class OutputReader:
    """The pipe to which nginx writes, and the thread that logs each of its lines."""

    def __init__(
        self,
        log: Callable[..., None],
        post: Report,
        *,
        repeats_post: bool,
        start_timeout: float = 0.0,
        advise: Advise = lambda _: "",
    ) -> None:
        self._log = log
        self._post = post
        self._advise = advise
        self._hinted: dict[str, float] = {}
        self._reader, self.descriptor = os.pipe()
        os.set_blocking(self._reader, False)
        # nginx opens it by its name in /proc, and at SIGUSR1 gives it to the user of its workers:
        # then a root without CAP_DAC_OVERRIDE could not open it at the next reload.
        os.fchmod(self.descriptor, 0o666)
        with suppress(OSError, AttributeError):
            import fcntl  # noqa: PLC0415

            fcntl.fcntl(self.descriptor, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._lock = threading.Lock()
        self._partial_line = b""
        #: A master that does not get ready is killed long after it gave the reason.
        self._last_lines = LastLines(start_timeout + _EXIT_DELAY)
        self._lost = LostRequests(repeats_post=repeats_post)
        self._suspects = Suspects()
        self._refused = set[Protocol]()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="nginx output", daemon=True).start()

    def exit_reason(self, pid: int) -> str:
        """Read the pipe, then return the line in which this process gives the reason of its end."""
        self._read()
        with self._lock:
            return self._last_lines.take_reason(pid, time.monotonic())

    def count_lost_requests(self, endpoints: int) -> None:
        """Begin to count the requests that end with their replica."""
        with self._lock:
            self._lost.begin(endpoints)

    def lost_requests(self) -> int:
        """Read the pipe, then return how many requests ended with their replica."""
        self._read()
        with self._lock:
            return self._lost.count

    def _run(self) -> None:
        while True:
            due = self._suspects.due
            wait = None if due == NEVER else max(0.0, due - time.monotonic())
            select.select([self._reader], [], [], wait)
            self._read()

    def _read(self) -> None:
        with self._lock:
            while True:
                try:
                    chunk = os.read(self._reader, 65536)
                except BlockingIOError:
                    break
                *lines, self._partial_line = (self._partial_line + chunk).split(b"\n")
                if len(self._partial_line) > MAX_LINE:
                    lines, self._partial_line = [*lines, self._partial_line], b""
                for line in lines:
                    self._log_line(line.decode(errors="replace"))
                self._report_suspects()
            self._report_suspects()

    def _report_suspects(self) -> None:
        if suspects := self._suspects.take(time.monotonic()):
            self._post(EndpointsSuspected(suspects))

    def _log_line(self, line: str) -> None:
        if refused := refused_protocol(line):
            if refused.protocol not in self._refused:  # such a client may try again and again
                self._refused.add(refused.protocol)
                self._post(refused)
            return
        match = _LINE.match(line)
        level = _LEVELS.get(match["level"], "info") if match else "info"
        text = match["text"] if match else line
        if _WORKER_EXIT.match(text):
            self._post(WorkerDied(text))
        if level == "error":
            self._lost.record(text)
        if suspect := unreachable(text):
            self._suspects.add(suspect)
        if text and not _SOCKET_REPLACED.match(text):
            self._log("nginx.output", level, text=text, **self._hint(text, level))
            pid = match["pid"] if match else None
            self._last_lines.add(
                time.monotonic(), int(pid) if pid else None, match["level"] if match else None, text
            )

    def _hint(self, text: str, level: str) -> dict[str, str]:
        """Return the field with what to do about an error, unless it was logged a moment ago."""
        hint = self._advise(text) if level == "error" else ""
        now = time.monotonic()
        if not hint or now < self._hinted.get(hint, -NEVER) + _HINT_PAUSE:
            return {}
        self._hinted[hint] = now
        return {"hint": hint}


def failure_reason(output: str) -> str:
    """Return the line of `nginx -t` that gives the reason of its failure."""
    lines = [line for line in output.splitlines() if line.strip()]
    relevant = [line for line in lines if "[emerg]" in line] or lines
    match = _LINE.match(relevant[-1]) if relevant else None
    return match["text"] if match else relevant[-1] if relevant else ""
