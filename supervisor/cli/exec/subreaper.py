"""
Kernel guarantees: `exec` adopts orphans, and the command receives TERM if `exec` is killed.

PID 1 adopts orphans without further setup, and when it exits all processes are killed.  Otherwise
this uses prctl, by ctypes because the standard library has no other way; without ctypes only the
command's process group is controlled.
"""

from __future__ import annotations

import os
import signal

# <sys/prctl.h>
_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36


class Subreaper:
    """
    The prctl calls; libc is loaded before the fork, so that calling it after the fork is safe.

    `adopts` is true if this process adopts orphans.
    """

    def __init__(self) -> None:
        self._libc = None
        self.adopts = os.getpid() == 1
        if self.adopts:
            return
        try:
            import ctypes

            self._libc = ctypes.CDLL(None)
            self.adopts = self._libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        except (ImportError, OSError, AttributeError):
            return

    def set_parent_death_signal(self, parent: int) -> None:
        """
        Have this child receive TERM when its parent is killed, so that it can stop its workers.
        """
        if self._libc is None:
            return
        self._libc.prctl(_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # the parent was killed before prctl took effect
            os._exit(128 + signal.SIGTERM)


def children() -> list[int]:
    """
    Return the children of this process, including adopted ones.
    """
    parent = os.getpid()
    try:
        with open(f"/proc/self/task/{parent}/children") as listed:
            return [int(pid) for pid in listed.read().split()]
    except OSError:  # a kernel built without that list, or gVisor
        return [pid for pid in _all_pids() if _parent_of(pid) == parent]


def _all_pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])  # the name may contain spaces
    except (OSError, ValueError, IndexError):
        return 0
