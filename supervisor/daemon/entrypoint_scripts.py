"""
The operator's scripts: `*.sh` of `/docker-entrypoint.d`, run before the first start of nginx.

The official image promises them: one after another in the order of their numbers, before nginx
reads any file, with the environment as the container was given it.  Here they are children like any
other: in a session of their own, with an end to their time, and a stop signal or the deadline ends
the start with them.  A start that one of them spoils does not happen.

It runs while signals are blocked and no thread waits for them yet, so it waits for them itself.
Others than the stop signals stay pending, for whoever listens next.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from supervisor.core.errors import ExitCode, Problem
from supervisor.core.model import ChildKind
from supervisor.core.signal_sets import STOP_SIGNALS
from supervisor.system import process

#: How long a script may take to heed TERM, and its last lines to be read, in seconds.
_GRACE = 1.0
_LINES = 0.3
_LONGEST_LINE = 16384

_DEADLINE = "deadline"
_ENVSH = "it would set variables for a shell that is not there: set them for the container"


@dataclass(frozen=True, slots=True)
class Interrupted:
    """
    The start is over before nginx began: a stop signal came, or the deadline.
    """

    reason: str
    script: str

    @property
    def is_deadline(self) -> bool:
        """Whether nobody asked for it."""
        return self.reason == _DEADLINE


def run_scripts(
    folder: Path,
    children: process.Children,
    log: Callable[..., None],
    patience: float,
    remaining: float,
) -> Interrupted | None:
    """
    Run all scripts; return why no more is to be done, if so.

    Each may take `patience` seconds, all of them what remains until the deadline.  Raises Problem
    when one fails.
    """
    deadline = time.monotonic() + remaining
    for path in _found(folder, log):
        began = time.monotonic()
        outcome = _run(path, children, log, min(deadline, began + patience))
        duration = round(time.monotonic() - began, 3)
        if isinstance(outcome, int):
            log(
                "entrypoint.ran",
                "info" if outcome == 0 else "error",
                script=path.name,
                duration=duration,
            )
        if outcome == 0:
            continue
        if outcome is None and time.monotonic() < deadline:
            error = f"it takes more than START_TIMEOUT={patience:g}s"
        elif isinstance(outcome, int):
            error = f"it ended with {outcome}"
        else:
            return Interrupted(outcome or _DEADLINE, str(path))
        raise Problem(ExitCode.CONFIG, f"cannot start after {path}: {error}; giving up")
    return None


def _found(folder: Path, log: Callable[..., None]) -> Iterator[Path]:
    """Yield what is to be run, and say what is not and why."""
    try:
        paths = sorted(folder.iterdir(), key=_order)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Problem(
            ExitCode.CONFIG, f"cannot read {folder}: {error.strerror}; giving up"
        ) from error
    for path in paths:
        if path.suffix == ".sh" and path.is_file() and os.access(path, os.X_OK):
            yield path
        elif path.suffix == ".sh":
            log("entrypoint.ignored", "warning", script=path.name, reason="it is not executable")
        elif path.suffix == ".envsh":
            log("entrypoint.ignored", "warning", script=path.name, reason=_ENVSH)


def _order(path: Path) -> list[str | int]:
    """Order as `sort -V` does: 9-a.sh before 10-b.sh."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def _run(
    path: Path, children: process.Children, log: Callable[..., None], until: float
) -> int | str | None:
    """Run one script: return its exit code, why it was ended, or None when its time was over."""
    reader, writer = os.pipe()
    try:
        pid = children.spawn(ChildKind.SCRIPT, [str(path)], writer, environ=os.environ)
    except OSError as error:  # no #! line, say
        os.close(reader)
        raise Problem(
            ExitCode.CONFIG, f"cannot execute {path}: {error.strerror}; giving up"
        ) from error
    finally:
        os.close(writer)
    pump = threading.Thread(target=_pump, args=(reader, path.name, log), daemon=True)
    pump.start()
    outcome = _await(children, pid, until)
    if not isinstance(outcome, int):
        process.send_signal(pid, signal.SIGTERM, group=True)
        if not isinstance(_await(children, pid, time.monotonic() + _GRACE), int):
            process.send_signal(pid, signal.SIGKILL, group=True)
    pump.join(_LINES)  # not for ever: what it left in the background may hold the pipe
    return outcome


def _await(children: process.Children, pid: int, until: float) -> int | str | None:
    """Wait for a child, a stop signal, or an instant, whichever is first."""
    while True:
        for ended in children.reap():
            if ended.pid == pid:
                return ended.code
        left = until - time.monotonic()
        if left <= 0:
            return None
        # The system call takes no more than a time_t, and a deadline may be further away.
        told = signal.sigtimedwait({signal.SIGCHLD, *STOP_SIGNALS}, min(left, 3600.0))
        if told is not None and told.si_signo in STOP_SIGNALS:
            return "stop signal"


def _pump(reader: int, script: str, log: Callable[..., None]) -> None:
    """Say each line that a script writes, as long as anybody holds its pipe."""
    with os.fdopen(reader, "rb") as lines:
        while line := lines.readline(_LONGEST_LINE):
            if text := line.decode(errors="replace").strip():
                log("entrypoint.output", "info", script=script, text=text)
