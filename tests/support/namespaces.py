"""
Processes as the host sees them: the members of a PID namespace and their titles.
"""

import contextlib
import functools
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psutil

MASTER = "nginx: master process"
WORKER = "nginx: worker process"
DRAINING = "nginx: worker process is shutting down"


@dataclass(frozen=True, slots=True)
class Process:
    """
    One process at one moment; `pid` and `ppid` are the host's, `inside` is the namespace's pid.
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
        Whether it has exited and was not reaped.
        """
        return self.status == psutil.STATUS_ZOMBIE


@functools.cache
def why_no_unshare() -> str:
    """
    Return why no PID namespace can be created on this machine, or an empty string.
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
    Return the name of a process's PID namespace, or an empty string if it is gone.
    """
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115 - called for every process
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
    All processes that a program has started.

    In a namespace these are its members.  Without one they are its descendants, cached between
    calls since orphans lose their link to it, and processes with `mark` on the command line; a
    zombie orphan that the machine's init has not reaped yet does not count.
    """

    def __init__(self, pid: int, mark: str, *, pid1: bool) -> None:
        self._pid = pid
        self._mark = mark
        self._namespace = namespace_of(pid) if pid1 else ""
        self._known: set[psutil.Process] = set()

    def processes(self) -> list[Process]:
        """
        Return all current processes, including zombies.
        """
        if self._namespace:
            return described(members(self._namespace))
        self._update()
        found = described(self._known)
        family = {process.pid for process in found}
        return [p for p in found if not p.zombie or p.ppid in family or p.pid == self._pid]

    def refresh(self) -> None:
        """
        Update the cache before an action that may orphan processes.
        """
        if not self._namespace:
            self._update()

    def kill(self) -> None:
        """
        Kill all processes; a namespace does so itself when its PID 1 dies.
        """
        if self._namespace:
            return
        stopped: set[psutil.Process] = set()
        self._update()
        while self._known - stopped:  # stopped processes cannot start others
            for process in self._known - stopped:
                with contextlib.suppress(psutil.Error):
                    process.suspend()
            stopped |= self._known
            self._update()
        for process in stopped:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _update(self) -> None:
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
