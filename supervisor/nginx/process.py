"""
nginx's processes: find the executable, read its version, start and signal.

When a child exits, its last output is attached to the event: that of `nginx -t` from memory, that
of the master from the pipe, so that a slow reader cannot lose the reason.
"""

import os
import re
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from supervisor.core.errors import ExecutableMissing, ExitCode, Problem
from supervisor.core.events import (
    ChildExited,
    OrphansFound,
    PortBusy,
    Spawned,
    SpawnFailed,
)
from supervisor.core.model import ChildKind
from supervisor.core.values import value_class
from supervisor.nginx.host_limits import busy_address
from supervisor.nginx.internal_socket import remove_sockets
from supervisor.nginx.old_workers import OldWorkers
from supervisor.nginx.output_reader import (
    MAX_LINE,
    Advise,
    OutputReader,
    Report,
    failure_reason,
)
from supervisor.system import process

_VERSION = re.compile(rb"nginx version: [^/\s]+/([0-9]+(?:\.[0-9]+)*)")

#: For `nginx -V`, in seconds; it usually takes a few milliseconds.
_VERSION_TIMEOUT = 5.0

#: The compiler of a distribution that uses musl: nginx prints it, but not its C library.
_MUSL = b"(Alpine "

#: First version with `-e`; older ones first try a default log file, often without permission.
_HAS_ERROR_OPTION = (1, 19, 5)

#: The next step for a start without nginx.
_INSTALL = "install nginx, or set NGINX_BINARY to its path"

#: glibc: reuse freed memory instead of giving it back to the kernel.  nginx takes and frees over
#: 2 MB for each `map`, and most of the time of `nginx -t` and of a reload was the zeroing of those
#: pages: 6.1 -> 3.3 ms.  nginx's master keeps 2 MB for it.
_KEEP_FREED_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "4000000", "MALLOC_MMAP_THRESHOLD_": "1000000"}

#: Called with the start before the child's exit can be reported: see `process.Children.spawn`.
Announce = Callable[[Spawned | SpawnFailed], None]


@value_class(frozen=True, slots=True)
class Binary:
    """
    An nginx executable, its version, whether it can count its connections, and whether its C
    library is musl (Alpine's).
    """

    path: str
    version: tuple[int, ...]
    has_stub_status: bool = False
    is_musl: bool = False


def find_binary(name: str) -> Binary:
    """
    Find nginx and read its version.

    Raises ExecutableMissing, or Problem when the executable is not nginx.
    """
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise ExecutableMissing(name, found=Path(name).exists(), hint=_INSTALL)
    file = os.memfd_create("nginx -V")
    children = process.Children()
    try:
        pid = children.spawn(ChildKind.CHECK, [path, "-V"], file)
    except OSError as error:
        raise ExecutableMissing(path, found=True, hint=_INSTALL) from error
    ended = process.await_exit(children, pid, _VERSION_TIMEOUT)
    output = os.pread(file, MAX_LINE, 0)
    os.close(file)
    match = _VERSION.search(output)
    if match is None:
        code = ended.code if ended else ExitCode.CONFIG
        if code in (ExitCode.NOT_EXECUTABLE, ExitCode.NOT_FOUND):
            is_found = code == ExitCode.NOT_EXECUTABLE
            raise ExecutableMissing(path, found=is_found, hint=_INSTALL)
        problem = "-V prints no version" if ended else f"-V hangs (over {_VERSION_TIMEOUT:g} s)"
        raise Problem(ExitCode.CONFIG, f"cannot use NGINX_BINARY={path!r}: {problem}; giving up")
    version = tuple(int(part) for part in match[1].split(b"."))
    return Binary(path, version, b"--with-http_stub_status_module" in output, _MUSL in output)


class Nginx:
    """
    nginx's processes: one master with its workers, and each `nginx -t`.
    """

    def __init__(
        self,
        binary: Binary,
        folder: Path,
        children: process.Children,
        log: Callable[..., None],
        post: Report,
        *,
        listen: tuple[str, ...] = (),
        repeats_post: bool = False,
        start_timeout: float = 0.0,
        advise: Advise = lambda _: "",
    ) -> None:
        self._binary = binary
        self._folder = folder
        self._listen = listen
        self._children = children
        self.old_workers = OldWorkers()
        self._check_output: dict[int, int] = {}
        self._output = OutputReader(
            log, post, repeats_post=repeats_post, start_timeout=start_timeout, advise=advise
        )
        self._command_prefix = [] if os.getpid() == 1 else _parent_death_prefix()

    def start(self) -> None:
        """Start the thread that logs nginx's output."""
        self._output.start()

    def spawn_master(
        self, announce: Callable[[Spawned | SpawnFailed | PortBusy], None], *, even_if_busy: bool
    ) -> None:
        """
        Start nginx on the live files; from the main thread, whose exit terminates nginx.

        If another process still listens on a port, only report that, unless `even_if_busy`: nginx
        itself tries again every 0.5 s, logs each try, and exits after 2.5 s.
        """
        busy = "" if even_if_busy else busy_address(self._listen)
        if busy:
            announce(PortBusy(busy))
            return
        remove_sockets(self._folder)  # a killed master leaves them behind
        argv = [*self._command_prefix, *self._command(self._folder / "conf" / "nginx.conf")]
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
        """Return the event with the reason attached that the child gave for its exit, if any."""
        if event.kind is ChildKind.MASTER:
            output = self._output.exit_reason(event.pid)
            return replace(event, output=output, lost=self._output.lost_requests())
        if event.kind is ChildKind.OTHER:  # perhaps the last worker of a master that died
            return replace(event, lost=self._output.lost_requests())
        file = self._check_output.pop(event.pid, None)
        if file is None:
            return event
        output = os.pread(file, MAX_LINE, 0).decode(errors="replace")
        os.close(file)
        return replace(event, output=failure_reason(output))

    def count_lost_requests(self, endpoints: int) -> None:
        """Count, from now on, the requests that end with their replica."""
        self._output.count_lost_requests(endpoints)

    def quit_orphans(self, master: int) -> OrphansFound:
        """Send SIGQUIT to the workers of an exited master; they finish their requests and exit."""
        signalled = set()
        for pid in psutil.pids():
            with suppress(OSError):
                if os.getpgid(pid) == master:
                    os.kill(pid, signal.SIGQUIT)
                    signalled.add(pid)
        return OrphansFound(frozenset(signalled))

    def _command(self, config: Path) -> list[str]:
        error_option = ["-e", "stderr"] if self._binary.version >= _HAS_ERROR_OPTION else []
        return [self._binary.path, "-p", f"{self._folder}/", *error_option, "-c", str(config)]

    def _spawn(
        self, kind: ChildKind, argv: list[str], output: int, announce: Announce
    ) -> Spawned | SpawnFailed:
        environ = {**process.child_environment(), **_KEEP_FREED_MEMORY}
        try:
            pid = self._children.spawn(
                kind, argv, output, lambda started: announce(Spawned(kind, started)), environ
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


def _parent_death_prefix() -> list[str]:
    """Return the command prefix that makes nginx exit with us, if `setpriv` is installed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
