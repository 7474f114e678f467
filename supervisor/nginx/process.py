"""
nginx as processes: found, asked for its version, started, signalled, listened to.

What nginx writes is read at once and becomes log lines of ours.  When a child ends, its last words
are attached to the event: for `nginx -t` they are kept in memory, for the master they are what the
pipe holds, so that no reader's delay can lose the reason.
"""

import os
import re
import select
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from supervisor.core.errors import ExecutableMissing, ExitCode, Problem
from supervisor.core.events import ChildExited, OrphansFound, Spawned, SpawnFailed, WorkerDied
from supervisor.core.model import ChildKind
from supervisor.nginx.internal_socket import SOCKET_NAME
from supervisor.system import process

_VERSION = re.compile(rb"nginx version: [^/\s]+/([0-9]+(?:\.[0-9]+)*)")
_LINE = re.compile(r"(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d )?\[(\w+)\] (?:\d+#\d+: )?(.*)", re.DOTALL)
#: Said at a level that is seen only of a death: whoever was told to go is told of more quietly.
_DEATH = re.compile(r"worker process [0-9]+ exited")
_LEVELS = {"emerg": "error", "alert": "error", "crit": "error", "error": "error", "warn": "warning"}
_PIPE_SIZE = 1 << 20

#: What nginx says last when a port is taken; the line before it tells which.
_EMPTY_WORDS = frozenset({"still could not bind()"})
_LONGEST_LINE = 16384

#: For `nginx -V`, in seconds: a few milliseconds are usual.
_VERSION_TIMEOUT = 5.0

#: First version with `-e`; before, nginx first tries to open a log file that it may not open.
_HAS_ERROR_OPTION = (1, 19, 5)


#: Told of a start at once: see `process.Children.spawn`.
Announce = Callable[[Spawned | SpawnFailed], None]


@dataclass(frozen=True, slots=True)
class Binary:
    """
    The nginx at hand, and whether it can count its connections.
    """

    path: str
    version: tuple[int, ...]
    has_stub_status: bool = False


def find_binary(name: str) -> Binary:
    """
    Find nginx and ask it for its version.

    Raises ExecutableMissing, or Problem when what was found is no nginx.
    """
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        there = Path(name).exists()
        raise ExecutableMissing(name, found=there)
    file = os.memfd_create("nginx -V")
    children = process.Children()
    try:
        pid = children.spawn(ChildKind.CHECK, [path, "-V"], file)
    except OSError as error:
        raise ExecutableMissing(path, found=True) from error
    ended = process.await_exit(children, pid, _VERSION_TIMEOUT)
    output = os.pread(file, _LONGEST_LINE, 0)
    os.close(file)
    match = _VERSION.search(output)
    if match is None:
        code = ended.code if ended else ExitCode.CONFIG
        if code in (ExitCode.NOT_EXECUTABLE, ExitCode.NOT_FOUND):
            raise ExecutableMissing(path, found=code == ExitCode.NOT_EXECUTABLE)
        problem = "-V prints no version" if ended else f"-V hangs (over {_VERSION_TIMEOUT:g} s)"
        raise Problem(ExitCode.CONFIG, f"cannot use NGINX_BINARY={path!r}: {problem}; giving up")
    version = tuple(int(part) for part in match[1].split(b"."))
    return Binary(path, version, b"--with-http_stub_status_module" in output)


class Nginx:
    """
    The processes of nginx: one master with its workers, and `nginx -t` now and then.
    """

    def __init__(
        self,
        binary: Binary,
        folder: Path,
        children: process.Children,
        log: Callable[..., None],
        post: Callable[[WorkerDied], None],
    ) -> None:
        self._binary = binary
        self._folder = folder
        self._children = children
        self._check_output: dict[int, int] = {}
        self._output = _OutputReader(log, post)
        self._guard = [] if os.getpid() == 1 else _parent_death_guard()

    def start(self) -> None:
        """Begin to listen to what nginx says."""
        self._output.start()

    def spawn_master(self, announce: Announce) -> None:
        """Start nginx on the live files.  From the main thread: its death would be nginx's."""
        for name in (SOCKET_NAME, "current.sock"):  # a dead master leaves them behind
            (self._folder / name).unlink(missing_ok=True)
        argv = [*self._guard, *self._command(self._folder / "conf" / "nginx.conf")]
        outcome = self._spawn(ChildKind.MASTER, argv, self._output.descriptor, announce)
        if isinstance(outcome, Spawned):
            process.prefer_oom_kill(outcome.pid)

    def spawn_check(self, config: Path, announce: Announce) -> Spawned | SpawnFailed:
        """Start `nginx -t` on a staged configuration."""
        output = os.memfd_create("nginx -t")
        argv = [*self._command(config), "-t", "-q"]
        outcome = self._spawn(ChildKind.CHECK, argv, output, announce)
        if isinstance(outcome, Spawned):
            process.prefer_oom_kill(outcome.pid, before_all=True)
            self._check_output[outcome.pid] = output
        else:
            os.close(output)
        return outcome

    def attach_output(self, event: ChildExited) -> ChildExited:
        """Attach what a child output last to the news of its end."""
        if event.kind is ChildKind.MASTER:
            return replace(event, output=self._output.last_output())
        file = self._check_output.pop(event.pid, None)
        if file is None:
            return event
        output = os.pread(file, _LONGEST_LINE, 0).decode(errors="replace")
        os.close(file)
        return replace(event, output=_gist(output))

    def quit_orphans(self, master: int) -> OrphansFound:
        """Tell the workers that a dead master left behind to finish and go."""
        told = set()
        for pid in psutil.pids():
            with suppress(OSError):
                if os.getpgid(pid) == master:
                    os.kill(pid, signal.SIGQUIT)
                    told.add(pid)
        return OrphansFound(frozenset(told))

    def _command(self, config: Path) -> list[str]:
        quiet = ["-e", "stderr"] if self._binary.version >= _HAS_ERROR_OPTION else []
        return [self._binary.path, "-p", f"{self._folder}/", *quiet, "-c", str(config)]

    def _spawn(
        self, kind: ChildKind, argv: list[str], output: int, announce: Announce
    ) -> Spawned | SpawnFailed:
        try:
            pid = self._children.spawn(
                kind, argv, output, lambda born: announce(Spawned(kind, born))
            )
            return Spawned(kind, pid)
        except FileNotFoundError as error:
            code, reason = ExitCode.NOT_FOUND, error.strerror
        except (PermissionError, OSError) as error:
            executable = os.access(argv[0], os.X_OK) and not isinstance(error, PermissionError)
            code, reason = (
                ExitCode.UNAVAILABLE if executable else ExitCode.NOT_EXECUTABLE,
                error.strerror,
            )
        failed = SpawnFailed(kind, code, f"cannot start {argv[0]}: {reason}")
        announce(failed)
        return failed


class _OutputReader:
    """The pipe into which nginx writes, and the thread that turns lines into log lines."""

    def __init__(self, log: Callable[..., None], post: Callable[[WorkerDied], None]) -> None:
        self._say = log
        self._post = post
        self._reader, self.descriptor = os.pipe()
        os.set_blocking(self._reader, False)
        with suppress(OSError, AttributeError):
            import fcntl  # noqa: PLC0415

            fcntl.fcntl(self.descriptor, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._lock = threading.Lock()
        self._rest = b""
        self._last = ""

    def start(self) -> None:
        threading.Thread(target=self._run, name="nginx voice", daemon=True).start()

    def last_output(self) -> str:
        """Read what is in the pipe by now, and return the most telling line so far."""
        self._read()
        last, self._last = self._last, ""
        return last

    def _run(self) -> None:
        while True:
            select.select([self._reader], [], [])
            self._read()

    def _read(self) -> None:
        with self._lock:
            while True:
                try:
                    chunk = os.read(self._reader, 65536)
                except BlockingIOError:
                    break
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                if len(self._rest) > _LONGEST_LINE:
                    lines, self._rest = [*lines, self._rest], b""
                for line in lines:
                    self._tell(line.decode(errors="replace"))

    def _tell(self, line: str) -> None:
        match = _LINE.match(line)
        level = _LEVELS.get(match[1], "info") if match else "info"
        text = match[2] if match else line
        if _DEATH.match(text):
            self._post(WorkerDied(text))
        if text:
            self._say("nginx.output", level, text=text)
            if text not in _EMPTY_WORDS and (level == "error" or not self._last):
                self._last = text


def _gist(output: str) -> str:
    """Return the line of `nginx -t` that tells what is wrong."""
    lines = [line for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if "[emerg]" in line] or lines
    match = _LINE.match(telling[-1]) if telling else None
    return match[2] if match else telling[-1] if telling else ""


def _parent_death_guard() -> list[str]:
    """Return the prefix that ties nginx's life to ours, where the tool for it exists."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
