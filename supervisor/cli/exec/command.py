"""
The wrapped command: started with a clean slate in a process group of its own, reaped with all that
it leaves behind.

A signal goes to the command alone: a server with workers knows how to end them, and a TERM to the
whole group would kill them under its hands.  The group and the orphans beside it are told only when
the command itself has gone, or when nothing else helps.

It is started by fork and not by posix_spawn: the terminal and the death signal have to be settled
between fork and exec.  No thread exists here, so that is safe.
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

    `code` is its exit code once it has ended; `is_alone` says that we have no child at all;
    `was_suspended` that the keyboard stopped it (Ctrl-Z).
    """

    def __init__(self, words: Sequence[str], subreaper: Subreaper) -> None:
        self._words = list(words)
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
        hears, tells = os.pipe()  # a successful exec closes it
        self.pid = os.fork()
        if self.pid == 0:
            self._become(parent, tells)
        os.close(tells)
        trouble = os.read(hears, 16)
        os.close(hears)
        if trouble:
            os.waitpid(self.pid, 0)
            raise OSError(int(trouble), os.strerror(int(trouble)))

    def _become(self, parent: int, tells: int) -> None:
        """
        Be the child: settle what exec keeps, then become the command.
        """
        trouble = 0
        try:
            os.setpgid(0, 0)
            if self._has_terminal:
                terminal.give(os.getpid())
            self._subreaper.die_with(parent)
            _clear_signals()
            os.execvp(self._words[0], self._words)  # noqa: S606 - what we are for
        except OSError as error:
            trouble = error.errno or 0
        finally:
            os.write(tells, str(trouble).encode())
            os._exit(1)

    def reap(self) -> None:
        """
        Bury whoever has ended, adopted orphans included.
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
        Send a signal to the command, and to nobody else.
        """
        if self.code is None:
            _send(os.kill, self.pid, signum)

    def proceed(self) -> None:
        """
        Let it run on where it was stopped, its group as well: who is stopped takes no TERM.
        """
        self.was_suspended = False
        if self.code is None:
            _send(os.killpg, self.pid, signal.SIGCONT)

    def signal_all(self, signum: int) -> int:
        """
        Send a signal to its group and to the orphans beside it; return how many of ours there were.
        """
        ours = children()
        _send(os.killpg, self.pid, signum)
        for pid in ours:
            if _group_of(pid) != self.pid:
                _send(os.kill, pid, signum)
        return len(ours)

    def resume(self) -> None:
        """
        Go on after SIGCONT: in the foreground, if the shell has put us there.
        """
        if terminal.is_ours():
            self._has_terminal = True
            terminal.give(self.pid)
        self.proceed()

    def return_terminal(self) -> None:
        """
        Be in the foreground again, as a script that goes on after us expects it.
        """
        if self._has_terminal:
            terminal.give(os.getpgrp())


def _clear_signals() -> None:
    """
    Give every signal its default, and block none.

    Python ignores SIGPIPE and SIGXFSZ, and exec keeps that.  SIGHUP alone stays ignored where it
    was: that is what nohup is for.
    """
    for signum in signal.valid_signals() - {signal.SIGHUP}:
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _send(how: Callable[[int, int], None], pid: int, signum: int) -> None:
    try:
        how(pid, signum)
    except (ProcessLookupError, PermissionError):
        # PermissionError: nothing of ours is left under that number.
        return


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
