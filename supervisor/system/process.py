"""
Child processes: started in a clean environment, reaped in one place.

The only `waitpid(-1)` of the program is here.  Two waiters would race, and the loser would read
ECHILD as "exited with 0": a failing `nginx -t` would look successful.  For the same reason this
process must not use `subprocess` or psutil's `wait`.

Spawning and reaping share a lock: a child that exits immediately is reaped only after its kind is
stored, and its exit is always reported after its start.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from supervisor.core.errors import shell_exit_code
from supervisor.core.events import ChildExited
from supervisor.core.model import ChildKind
from supervisor.system import cgroup

#: In bytes: an upper bound of our own memory, and the limit that counts as unlimited.
_OUR_MEMORY = 100 << 20
_UNLIMITED_MEMORY = 1 << 40

#: The only variables that a child inherits: Nomad's token must not be in /proc/<nginx>/environ.
_INHERITED = ("PATH", "TZ")

# <sys/prctl.h>
_SET_DUMPABLE = 4
_SET_CHILD_SUBREAPER = 36

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Children:
    """
    The children of this process: their kind by pid.
    """

    def __init__(self) -> None:
        self._kinds: dict[int, ChildKind] = {}
        self._lock = threading.Lock()

    def spawn(
        self,
        kind: ChildKind,
        argv: Sequence[str],
        output: int,
        announce: Callable[[int], None] = lambda _: None,
        environ: Mapping[str, str] | None = None,
    ) -> int:
        """
        Start a program in a new session, with stdout and stderr on the descriptor `output`.

        Signals are at their defaults and unblocked, stdin is empty, and no other descriptor is
        open.  `announce` is called with the pid before the exit can be reported.  `environ`
        replaces the reduced environment.  Raises OSError when the program cannot be executed.
        """
        with self._lock:
            pid = os.posix_spawn(
                argv[0],
                list(argv),
                child_environment() if environ is None else environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}),
            )
            self._kinds[pid] = kind
            announce(pid)
        return pid

    def reap(self) -> list[ChildExited]:
        """
        Reap all exited children, adopted ones included.
        """
        ended = []
        with self._lock:
            while True:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:  # no children
                    break
                if pid == 0:  # no child has exited
                    break
                ended.append(
                    ChildExited(
                        pid,
                        self._kinds.pop(pid, ChildKind.OTHER),
                        shell_exit_code(os.waitstatus_to_exitcode(status)),
                    )
                )
        return ended

    def kill_all(self) -> None:
        """
        Kill all running children with their groups, such as one started during the shutdown.
        """
        with self._lock:
            for pid in self._kinds:
                send_signal(pid, signal.SIGKILL, group=True)


def await_exit(children: Children, pid: int, within: float) -> ChildExited | None:
    """
    Wait for one child before the signal thread runs; after `within` seconds kill it, return None.
    """
    until = time.monotonic() + within
    while (remaining := until - time.monotonic()) > 0:
        for ended in children.reap():
            if ended.pid == pid:
                return ended
        signal.sigtimedwait({signal.SIGCHLD}, remaining)
    send_signal(pid, signal.SIGKILL, group=True)
    return None


def child_environment() -> dict[str, str]:
    """
    Return the reduced environment of a child: PATH and TZ.
    """
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {"PATH": _DEFAULT_PATH, **inherited}


def send_signal(pid: int, signum: int, *, group: bool = False) -> None:
    """
    Send a signal; ignored when the process has already exited.
    """
    try:
        (os.killpg if group else os.kill)(pid, signum)
    except (ProcessLookupError, PermissionError):
        # PermissionError: the pid now belongs to another process.
        return


def prefer_oom_kill(pid: int, *, before_all: bool = False) -> None:
    """
    Make the kernel's OOM killer choose a child before us when our control group is out of memory.

    The supervisor can restart nginx but not itself, and as the larger process it would be chosen.
    With `before_all` the child is chosen first: without `nginx -t` only the reload fails.  Without
    a memory limit the scores are left alone.
    """
    limit = cgroup.memory()
    if limit < _UNLIMITED_MEMORY:
        bonus = 1000 if before_all else min(1000, math.ceil(1000 * _OUR_MEMORY / limit))
        with suppress(OSError, ValueError):
            path = Path(f"/proc/{pid}/oom_score_adj")
            path.write_text(str(min(1000, int(path.read_text()) + bonus)))


def close_inherited() -> None:
    """
    Set close-on-exec on all inherited descriptors, so that nginx does not get them.
    """
    for entry in Path("/proc/self/fd").iterdir():
        if int(entry.name) > 2:
            try:
                os.set_inheritable(int(entry.name), False)
            except OSError:
                continue  # the descriptor that listed this folder


def hide_environment() -> None:
    """
    Hide our environment and memory from processes of the same user, and disable core dumps.

    A compromised nginx worker could read Nomad's token there.  Under root the workers run as
    another user, so nothing has to be hidden and ctypes need not be loaded.
    """
    if os.geteuid() != 0:
        _prctl(_SET_DUMPABLE, 0)


def become_subreaper() -> None:
    """
    Adopt orphans when we are not PID 1, so that the workers of an exited master can be stopped.
    """
    if os.getpid() != 1:
        _prctl(_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    """Call prctl with ctypes, which is imported only here: no available library wraps prctl."""
    import ctypes  # noqa: PLC0415

    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
