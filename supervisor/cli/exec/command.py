"""
The wrapped command: started with default signals in its own process group, reaped with all orphans.

Only the command itself receives a signal: a server with workers stops its own workers, and TERM to
the whole group would kill them too early.  The group and the orphans outside it are signalled only
after the command has exited, or to kill them.

The command is started by fork, not by posix_spawn, because the terminal and the parent-death signal
have to be set between fork and exec.  There are no threads here, so that is safe.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Callable

from supervisor.cli.exec import terminal
from supervisor.cli.exec.subreaper import Subreaper, children
from supervisor.core.errors import shell_exit_code

if TYPE_CHECKING:
    from collections.abc import Sequence


class Command:
    """
    One command and its descendants.

    `code` is its exit code once it has exited; `is_alone` is true if this process has no child;
    `was_suspended` is true if the keyboard stopped the command (Ctrl-Z).
    """

    def __init__(self, arguments: Sequence[str], subreaper: Subreaper) -> None:
        self._arguments = list(arguments)
        self._subreaper = subreaper
        self._has_terminal = False
        self.pid = 0
        self.code: int | None = None
        self.is_alone = False
        self.was_suspended = False

    def start(self) -> None:
        """
        Start it.  Raises OSError when it cannot be executed.
        """
        self._has_terminal = terminal.is_ours()
        parent = os.getpid()
        reader, writer = os.pipe()  # a successful exec closes the writer
        self.pid = os.fork()
        if self.pid == 0:
            self._execute(parent, writer)
        os.close(writer)
        errno = os.read(reader, 16)
        os.close(reader)
        if errno:
            os.waitpid(self.pid, 0)
            raise OSError(int(errno), os.strerror(int(errno)))

    def _execute(self, parent: int, writer: int) -> None:
        """
        In the child: set the attributes that exec keeps, then execute the command.
        """
        errno = 0
        try:
            os.setpgid(0, 0)
            if self._has_terminal:
                terminal.give(os.getpid())
            self._subreaper.set_parent_death_signal(parent)
            _clear_signals()
            os.execvp(self._arguments[0], self._arguments)  # noqa: S606 - the purpose of `exec`
        except OSError as error:
            errno = error.errno or 0
        finally:
            os.write(writer, str(errno).encode())
            os._exit(1)

    def reap(self) -> None:
        """
        Reap all children that have exited, including adopted orphans.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                self.is_alone = True
                return
            if pid == 0:
                self.is_alone = False
                return
            if pid == self.pid and os.WIFSTOPPED(status):
                self.was_suspended = os.WSTOPSIG(status) in terminal.STOPS
            elif pid == self.pid:
                self.code = shell_exit_code(os.waitstatus_to_exitcode(status))

    def send_signal(self, signum: int) -> None:
        """
        Send a signal to the command only.
        """
        if self.code is None:
            _send(os.kill, self.pid, signum)

    def proceed(self) -> None:
        """
        Continue the command and its group if stopped: a stopped process does not handle TERM.
        """
        self.was_suspended = False
        if self.code is None:
            _send(os.killpg, self.pid, signal.SIGCONT)

    def signal_all(self, signum: int) -> int:
        """
        Send a signal to its group and to the orphans outside it; return the number of children.
        """
        pids = children()
        _send(os.killpg, self.pid, signum)
        for pid in pids:
            if _group_of(pid) != self.pid:
                _send(os.kill, pid, signum)
        return len(pids)

    def resume(self) -> None:
        """
        Continue after SIGCONT, in the foreground if the shell has put `exec` there.
        """
        if terminal.is_ours():
            self._has_terminal = True
            terminal.give(self.pid)
        self.proceed()

    def return_terminal(self) -> None:
        """
        Return to the foreground, as a script that continues after `exec` expects.
        """
        if self._has_terminal:
            terminal.give(os.getpgrp())


def _clear_signals() -> None:
    """
    Reset every signal to its default and unblock all.

    Python ignores SIGPIPE and SIGXFSZ, and exec would keep that.  Only SIGHUP stays ignored if it
    was, as nohup requires.
    """
    for signum in signal.valid_signals() - {signal.SIGHUP}:
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _send(kill: Callable[[int, int], None], pid: int, signum: int) -> None:
    try:
        kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        # PermissionError: that PID or group no longer belongs to this run.
        return


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
