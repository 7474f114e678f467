"""
The operator's scripts: `*.sh` of `/docker-entrypoint.d`, run before the first start of nginx.

As in the official image they run one after another in the order of their numbers, before nginx
reads any file, with the container's environment but without Nomad's token.  Each runs in a session
of its own with a time limit.  A stop signal or the deadline ends the running script and the start;
so does a script that fails.

Signals are blocked here and no thread waits for them yet, so this module waits for them itself.
Signals other than the stop signals stay pending until the program listens for them.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from supervisor.core.errors import ExitCode, Problem
from supervisor.core.model import ChildKind
from supervisor.core.signal_sets import STOP_SIGNALS
from supervisor.core.values import value_class
from supervisor.system import process

#: How long a script may take to exit after TERM, and how long to read its last lines, in seconds.
_TERM_TIMEOUT = 1.0
_OUTPUT_TIMEOUT = 0.3
_MAX_LINE = 16384

#: The variables that scripts do not get: what they write, every user of the container can read.
_SECRET = frozenset({"NOMAD_TOKEN"})

_DEADLINE = "deadline"
_ENVSH = "no shell reads its variables: set them for the container"


@value_class(frozen=True, slots=True)
class Interrupted:
    """
    The start ended before nginx was started: by a stop signal or by the deadline.
    """

    reason: str
    during: str

    @property
    def is_deadline(self) -> bool:
        """Whether the deadline ended the start."""
        return self.reason == _DEADLINE


def run_scripts(
    folder: Path,
    children: process.Children,
    log: Callable[..., None],
    timeout: float,
    remaining: float,
) -> Interrupted | None:
    """
    Run all scripts; return what interrupted them, or None.

    Each may take `timeout` seconds, all together `remaining` seconds.  Raises Problem when one
    fails.
    """
    deadline = time.monotonic() + remaining
    for path in _executable_scripts(folder, log):
        began = time.monotonic()
        outcome = _run(path, children, log, min(deadline, began + timeout))
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
            error = f"it ran longer than START_TIMEOUT={timeout:g}s"
        elif isinstance(outcome, int):
            error = f"it exited with code {outcome}"
        else:
            return Interrupted(outcome or _DEADLINE, str(path))
        raise Problem(ExitCode.CONFIG, f"cannot start because of {path}: {error}; giving up")
    return None


def _executable_scripts(folder: Path, log: Callable[..., None]) -> Iterator[Path]:
    """Yield the scripts to run in their order, and log the ignored ones."""
    try:
        paths = sorted(folder.iterdir(), key=_version_key)
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


def _version_key(path: Path) -> list[str | int]:
    """Return a sort key for the order of `sort -V`: 9-a.sh before 10-b.sh."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def _run(
    path: Path, children: process.Children, log: Callable[..., None], until: float
) -> int | str | None:
    """Run one script: return its exit code, what interrupted it, or None after a timeout."""
    environ = {name: value for name, value in os.environ.items() if name not in _SECRET}
    reader, writer = os.pipe()
    try:
        pid = children.spawn(ChildKind.SCRIPT, [str(path)], writer, environ=environ)
    except OSError as error:  # for example, no #! line
        os.close(reader)
        raise Problem(
            ExitCode.CONFIG, f"cannot execute {path}: {error.strerror}; giving up"
        ) from error
    finally:
        os.close(writer)
    output = threading.Thread(target=_log_output, args=(reader, path.name, log), daemon=True)
    output.start()
    outcome = _wait(children, pid, until)
    if not isinstance(outcome, int):
        process.send_signal(pid, signal.SIGTERM, group=True)
        if not isinstance(_wait(children, pid, time.monotonic() + _TERM_TIMEOUT), int):
            process.send_signal(pid, signal.SIGKILL, group=True)
    output.join(_OUTPUT_TIMEOUT)  # its background processes may keep the pipe open
    return outcome


def _wait(children: process.Children, pid: int, until: float) -> int | str | None:
    """Wait for a child's exit, a stop signal, or an instant, whichever comes first."""
    while True:
        for ended in children.reap():
            if ended.pid == pid:
                return ended.code
        left = until - time.monotonic()
        if left <= 0:
            return None
        # A deadline may exceed the system call's time_t.
        received = signal.sigtimedwait({signal.SIGCHLD, *STOP_SIGNALS}, min(left, 3600.0))
        if received is not None and received.si_signo in STOP_SIGNALS:
            return "stop signal"


def _log_output(reader: int, script: str, log: Callable[..., None]) -> None:
    """Log each line of a script's output until the last writer closes the pipe."""
    with os.fdopen(reader, "rb") as lines:
        while line := lines.readline(_MAX_LINE):
            if text := line.decode(errors="replace").strip():
                log("entrypoint.output", "info", script=script, text=text)
