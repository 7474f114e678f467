"""
Processes as the host sees them: who lives in a PID namespace, and under what title.
"""

import contextlib
import functools
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psutil

WORKER = "nginx: worker process"
DRAINING = "nginx: worker process is shutting down"


@dataclass(frozen=True, slots=True)
class Process:
    """
    One process at one moment; `pid` and `ppid` are the host's, `inside` is its own.
    """

    pid: int
    ppid: int
    inside: int
    name: str
    status: str
    title: str

    @property
    def zombie(self) -> bool:
        """
        Whether it ended and nobody waited for it.
        """
        return self.status == psutil.STATUS_ZOMBIE


@functools.cache
def why_no_unshare() -> str:
    """
    Return why this machine gives us no PID namespace, or nothing where it does.
    """
    try:
        tried = subprocess.run(
            ["unshare", "-pf", "--mount-proc", "true"], capture_output=True, text=True, check=False
        )
    except OSError as error:
        return f"cannot run unshare: {error}"
    if tried.returncode == 0:
        return ""
    return f"cannot make a PID namespace: {tried.stderr.strip() or tried.returncode}"


def namespace_of(pid: int) -> str:
    """
    Return the name of a process's PID namespace, nothing where it is gone.
    """
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115 - asked of every process
    return ""


def members(namespace: str) -> Iterator[psutil.Process]:
    """
    Yield every process of a PID namespace.
    """
    for pid in psutil.pids():
        if namespace and namespace_of(pid) == namespace:
            with contextlib.suppress(psutil.NoSuchProcess):
                yield psutil.Process(pid)


def described(processes: Iterable[psutil.Process]) -> list[Process]:
    """
    Return what the processes are now; those that went meanwhile are left out.

    A worker's title is one padded string, the master's is split at its blanks: joined
    and stripped, both can be compared for equality.
    """
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError), process.oneshot():
            status = process.status()
            title = "" if status == psutil.STATUS_ZOMBIE else " ".join(process.cmdline()).strip()
            found.append(
                Process(
                    process.pid,
                    process.ppid(),
                    _inside(process.pid),
                    process.name(),
                    status,
                    title,
                )
            )
    return found


class ProcessTree:
    """
    Everyone a program brought into the world.

    In a namespace that is who lives there; without one it is its descendants, kept in
    mind from look to look since orphans lose the trace to it, and whoever has `mark` on its
    command line.  A dead orphan whom the
    machine's own init has not buried yet is none of ours.
    """

    def __init__(self, pid: int, mark: str, *, pid1: bool) -> None:
        self._pid = pid
        self._mark = mark
        self._namespace = namespace_of(pid) if pid1 else ""
        self._known: set[psutil.Process] = set()

    def look(self) -> list[Process]:
        """
        Return all that are there now, the dead but unburied among them.
        """
        if self._namespace:
            return described(members(self._namespace))
        self._remember()
        found = described(self._known)
        family = {process.pid for process in found}
        return [p for p in found if not p.zombie or p.ppid in family or p.pid == self._pid]

    def refresh(self) -> None:
        """
        Keep in mind who is there, before something is done that may orphan them.
        """
        if not self._namespace:
            self._remember()

    def kill(self) -> None:
        """
        Leave nobody; a namespace does so by itself when its PID 1 dies.
        """
        if self._namespace:
            return
        held: set[psutil.Process] = set()
        self._remember()
        while self._known - held:  # stopped, they cannot bring forth more
            for process in self._known - held:
                with contextlib.suppress(psutil.Error):
                    process.suspend()
            held |= self._known
            self._remember()
        for process in held:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _remember(self) -> None:
        marked = (p for p in psutil.process_iter() if p.pid == self._pid or self._marked(p))
        self._known = {p for p in {*self._known, *marked} if p.is_running()}
        for process in list(self._known):
            with contextlib.suppress(psutil.NoSuchProcess):
                self._known.update(process.children(recursive=True))

    def _marked(self, process: psutil.Process) -> bool:
        try:
            return any(self._mark in word for word in process.cmdline())
        except psutil.Error:
            return False


def _inside(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - hot
        for line in status:
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return pid
