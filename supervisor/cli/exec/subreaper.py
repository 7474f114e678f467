"""
What only the kernel can promise: orphans come to us, and nobody outlives us.

As PID 1 both are so by nature, and nothing is loaded.  Elsewhere by prctl, through ctypes because
the standard library has nothing else; where ctypes is missing, only the process group is ours.
"""

from __future__ import annotations

import os
import signal

# <sys/prctl.h>
_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36


class Subreaper:
    """
    The two promises, and whether they were given: loaded before the fork, so that it is safe after.
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

    def die_with(self, parent: int) -> None:
        """
        Have this child told to end when its parent is killed: TERM, so that it can end its workers.
        """
        if self._libc is None:
            return
        self._libc.prctl(_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # it was killed before that
            os._exit(128 + signal.SIGTERM)


def children() -> list[int]:
    """
    Return the children of this process, adopted ones included.
    """
    us = os.getpid()
    try:
        with open(f"/proc/self/task/{us}/children") as listed:
            return [int(pid) for pid in listed.read().split()]
    except OSError:  # a kernel built without that list, or gVisor
        return [pid for pid in _all_pids() if _parent_of(pid) == us]


def _all_pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])  # the name may hold blanks
    except (OSError, ValueError, IndexError):
        return 0
