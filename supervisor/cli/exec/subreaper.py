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
        return [pid for pid, (_, its_parent) in _processes().items() if its_parent == parent]


def descendants() -> list[int]:
    """
    Return the processes below this one that have not exited.
    """
    processes = _processes()
    found = {os.getpid()}
    is_complete = False
    while not is_complete:
        below = {pid for pid, (_, parent) in processes.items() if parent in found}
        is_complete = below <= found
        found |= below
    return sorted(pid for pid in found - {os.getpid()} if processes[pid][0] != "Z")


def _processes() -> dict[int, tuple[str, int]]:
    """Return the state and the parent of each process."""
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return {}
    found = {pid: _state_and_parent(pid) for pid in pids}
    return {pid: known for pid, known in found.items() if known is not None}


def _state_and_parent(pid: int) -> tuple[str, int] | None:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            state, parent = stat.read().rpartition(")")[2].split()[:2]  # the name may have spaces
        return state, int(parent)
    except (OSError, ValueError):
        return None
