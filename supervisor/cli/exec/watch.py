"""
The watch over a command: signals, its end, the deadline, the ladder.

No handler exists: everything is blocked and taken by `sigtimedwait`, so nothing is late and nothing
is lost.  The deadline is a reading of the clock that counts while the machine is suspended; waits
end every few seconds anyway, because that clock is not the one they are measured by.
"""

from __future__ import annotations

import os
import signal
from typing import NamedTuple

from supervisor.cli.exec import terminal
from supervisor.cli.exec.command import Command
from supervisor.cli.exec.log import StderrLog
from supervisor.cli.exec.options import Options
from supervisor.core.drain_ladder import DrainLadder
from supervisor.core.durations import format_span
from supervisor.core.signal_sets import STOP_SIGNALS, WAITED_FOR
from supervisor.system.clock import boot_clock

_LONGEST_NAP = 5.0

#: How long the killed may take to go: the kernel needs a moment, a process in a dead mount needs
#: for ever.
_LAST_STEP = 0.3

#: They are about us: our children, our own writing, our own place at a terminal.
_OUR_OWN = frozenset(
    {signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTTIN, signal.SIGTTOU}
)


class Outcome(NamedTuple):
    """
    Why it is over, how long the end took, and how many processes had to be killed for it.
    """

    reason: str
    duration: float | None
    killed: int


class CommandSupervisor:
    """
    From the start of the command until nothing of it is left.
    """

    def __init__(self, command: Command, options: Options, deadline: float, log: StderrLog) -> None:
        self._command = command
        self._options = options
        self._deadline = deadline
        self._log = log
        self._ladder = DrainLadder()
        self._is_termed = False
        self._is_rest_termed = False

    def run(self) -> Outcome:
        """
        Watch until the end, and see to it that nothing is left.
        """
        while True:
            self._command.reap()
            wake_at = self._climbed(boot_clock())
            if wake_at is None:
                break
            self._wait(wake_at)
        killed = self.kill_all()
        if not self._ladder.has_begun:
            return Outcome("command ended", None, killed)
        return Outcome(self._ladder.reason, boot_clock() - self._ladder.began_at, killed)

    def kill_all(self) -> int:
        """
        Kill whatever still runs, and return how many that were.
        """
        killed = self._command.signal_all(signal.SIGKILL)
        until = boot_clock() + _LAST_STEP
        self._command.reap()
        while not self._command.is_alone and boot_clock() < until:
            signal.sigtimedwait({signal.SIGCHLD}, 0.02)
            self._command.signal_all(signal.SIGKILL)  # the children of the killed are ours now
            self._command.reap()
        self._command.return_terminal()
        return killed

    def _climbed(self, now: float) -> float | None:
        """Do what is due by now, and return when more is; None when it is over."""
        command = self._command
        if not self._ladder.has_begun:
            if command.code is not None:
                return None
            if now < self._deadline:
                return self._deadline
            ladder = self._ladder.begin("deadline", self._options.drain_timeout, now)
            self._begin(ladder, signal.SIGTERM)
        ladder = self._ladder
        if command.is_alone or ladder.kill_at <= now:
            return None
        if command.code is not None and not self._is_rest_termed:
            self._is_rest_termed = True  # it did not take them with it: they may finish too
            command.signal_all(signal.SIGTERM)
        if ladder.term_at <= now:
            self._signal(signal.SIGTERM)
        return ladder.kill_at if self._is_termed else ladder.term_at

    def _begin(self, ladder: DrainLadder, signum: int) -> None:
        self._ladder = ladder
        within = format_span(max(0.0, ladder.gone_at - ladder.began_at))
        self._signal(signum)
        self._log.emit("draining", reason=ladder.reason, within=within)

    def _signal(self, signum: int) -> None:
        """Tell the command to end: TERM once only, since many take a second one for "at once"."""
        if signum == signal.SIGTERM and self._is_termed:
            return
        self._is_termed = self._is_termed or signum == signal.SIGTERM
        self._command.send_signal(signum)
        self._command.proceed()

    def _wait(self, until: float) -> None:
        """Wait for a signal and do what it asks for."""
        if self._command.was_suspended and os.getpid() != 1 and terminal.is_there():
            self._command.was_suspended = False
            os.kill(os.getpid(), signal.SIGSTOP)  # so that the shell notices; it sends SIGCONT
        nap = min(_LONGEST_NAP, until - boot_clock())
        arrived = signal.sigtimedwait(WAITED_FOR, max(0.0, nap))
        if arrived is None or arrived.si_signo in _OUR_OWN:
            return
        self._command.reap()  # it may have ended before it was asked to
        if arrived.si_signo in STOP_SIGNALS:
            self._stop(arrived.si_signo, boot_clock())
        elif arrived.si_signo == signal.SIGCONT:
            self._command.resume()
        else:
            self._command.send_signal(arrived.si_signo)

    def _stop(self, signum: int, now: float) -> None:
        before = self._ladder
        if not before.has_begun and self._command.code is not None:
            return
        ladder = before.stop(self._options.stop_timeout, now)
        if not before.has_begun:
            self._begin(ladder, signum)
            return
        self._ladder = ladder
        self._log.emit("stop.escalated", stops=ladder.stops)
        if ladder.stops > 1:  # it has been told at the deadline; now it is told that it is urgent
            self._is_termed = self._is_termed and signum != signal.SIGTERM  # a second, on purpose
            self._signal(signum)
