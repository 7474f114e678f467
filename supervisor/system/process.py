"""
Children: started with a clean slate, reaped in one place.

The only `waitpid(-1)` of the house is here.  Two waiters would race, and the loser reads ECHILD as
"exited with 0": a failing `nginx -t` would look like success.  For the same reason nothing here
may use `subprocess` or psutil's `wait`.

Spawning and reaping share a lock, so that a child that dies at once is never reaped before it is
known what it was started for, and its end is never news before its start is.
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

#: More than we ever take, and from when on a limit is none, in bytes.
_OUR_MEMORY = 100 << 20
_MUCH_MEMORY = 1 << 40

#: All that a child needs of our environment; the token must not be in /proc/<nginx>/environ.
_PASSED_ON = ("PATH", "TZ")

# <sys/prctl.h>
_SET_DUMPABLE = 4
_SET_CHILD_SUBREAPER = 36

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Children:
    """
    Every child of this process, by pid, with what it was started for.
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
        Start a program in a session of its own, stdout and stderr on one descriptor.

        Signals are at their defaults and unblocked, stdin is empty, and no other descriptor is
        open.  `announce` is told the pid before anybody can learn that it ended.  `environ` is
        for what may know all that we do.  Raises OSError when the program cannot be executed.
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
        Bury every child that has ended, adopted ones included.
        """
        ended = []
        with self._lock:
            while True:
                try:
                    pid, status = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:  # no children at all
                    break
                if pid == 0:  # children, but none has ended
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
        Kill whatever still runs, with its group: one that was started as the end came, say.
        """
        with self._lock:
            for pid in self._kinds:
                send_signal(pid, signal.SIGKILL, group=True)


def await_exit(children: Children, pid: int, within: float) -> ChildExited | None:
    """
    Wait for one child where no thread listens to signals yet; None when it takes too long.
    """
    until = time.monotonic() + within
    while (left := until - time.monotonic()) > 0:
        for ended in children.reap():
            if ended.pid == pid:
                return ended
        signal.sigtimedwait({signal.SIGCHLD}, left)
    send_signal(pid, signal.SIGKILL, group=True)
    return None


def child_environment() -> dict[str, str]:
    """
    Return the little of our environment that a child is given.
    """
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {"PATH": _DEFAULT_PATH, **passed}


def send_signal(pid: int, signum: int, *, group: bool = False) -> None:
    """
    Send a signal; a process that is gone already needs none.
    """
    try:
        (os.killpg if group else os.kill)(pid, signum)
    except (ProcessLookupError, PermissionError):
        # PermissionError: nothing of ours is left under that number.
        return


def prefer_oom_kill(pid: int, *, before_all: bool = False) -> None:
    """
    Let the kernel take a child before us when the memory of our control group is used up.

    We can start nginx again and nobody can start us; yet ours is the larger process, which the
    kernel would choose.  A mere check goes before all others: then the reload is refused, and
    nobody notices.  Where no group bounds the memory, the machine's order stands as it is.
    """
    limit = cgroup.memory()
    if limit < _MUCH_MEMORY:
        bonus = 1000 if before_all else min(1000, math.ceil(1000 * _OUR_MEMORY / limit))
        with suppress(OSError, ValueError):
            path = Path(f"/proc/{pid}/oom_score_adj")
            path.write_text(str(min(1000, int(path.read_text()) + bonus)))


def close_inherited() -> None:
    """
    Keep descriptors that we inherited from reaching nginx.
    """
    for entry in Path("/proc/self/fd").iterdir():
        if int(entry.name) > 2:
            try:
                os.set_inheritable(int(entry.name), False)
            except OSError:
                continue  # the one that listed this folder


def hide_environment() -> None:
    """
    Keep the kernel from showing our environment and memory to who runs as we do, or in a core.

    A worker of nginx that was taken over would find Nomad's token there.  Root's workers are
    somebody else, so nothing has to be hidden, and ctypes need not be loaded.
    """
    if os.geteuid() != 0:
        _prctl(_SET_DUMPABLE, 0)


def become_subreaper() -> None:
    """
    Adopt orphans when we are not PID 1, so that workers of a dead master stay ours to end.
    """
    if os.getpid() != 1:
        _prctl(_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    """Ask the kernel by ctypes, since no library at hand wraps prctl; loaded only when asked."""
    import ctypes  # noqa: PLC0415

    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
