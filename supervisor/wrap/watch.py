"""
The watch over a command: signals, its end, the deadline, the ladder.

No handler exists: everything is blocked and taken by `sigtimedwait`, so nothing is late and nothing
is lost.  The deadline is a reading of the clock that counts while the machine is suspended; waits
end every few seconds anyway, because that clock is not the one they are measured by.
"""

from __future__ import annotations

import os
import signal
import time
from typing import NamedTuple

from supervisor.durations import format_span
from supervisor.wrap import terminal
from supervisor.wrap.command import Command
from supervisor.wrap.ending import Ending, asked_to_stop, at_deadline
from supervisor.wrap.lines import Lines
from supervisor.wrap.options import Options

_LONGEST_NAP = 5.0

#: How long the killed may take to go: the kernel needs a moment, a process in a dead mount needs
#: for ever.
_LAST_STEP = 0.3

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})

#: Signals that report a fault of the running code itself: blocking those would hide a crash.
_FAULTS = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGABRT,
        signal.SIGTRAP,
        signal.SIGSYS,
    }
)

TAKEN = frozenset(signal.valid_signals()) - _FAULTS - {signal.SIGKILL, signal.SIGSTOP}

#: They are about us: our children, our own writing, our own place at a terminal.
_OUR_OWN = frozenset(
    {signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTTIN, signal.SIGTTOU}
)


def boot_clock() -> float:
    """
    Read the clock that counts while the machine is suspended, in seconds.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Outcome(NamedTuple):
    """
    Why it is over, how long the end took, and how many processes had to be killed for it.
    """

    reason: str
    took: float | None
    killed: int


class Watch:
    """
    From the start of the command until nothing of it is left.
    """

    def __init__(self, command: Command, options: Options, deadline: float, lines: Lines) -> None:
        self._command = command
        self._options = options
        self._deadline = deadline
        self._lines = lines
        self._ending: Ending | None = None
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
        killed = self.leave_nobody()
        if self._ending is None:
            return Outcome("command ended", None, killed)
        return Outcome(self._ending.reason, boot_clock() - self._ending.began_at, killed)

    def leave_nobody(self) -> int:
        """
        Kill whatever still runs, and return how many that were.
        """
        killed = self._command.tell_all(signal.SIGKILL)
        until = boot_clock() + _LAST_STEP
        self._command.reap()
        while not self._command.is_alone and boot_clock() < until:
            signal.sigtimedwait({signal.SIGCHLD}, 0.02)
            self._command.tell_all(signal.SIGKILL)  # the children of the killed are ours now
            self._command.reap()
        self._command.return_terminal()
        return killed

    def _climbed(self, now: float) -> float | None:
        """Do what is due by now, and return when more is; None when it is over."""
        command, ending = self._command, self._ending
        if ending is None:
            if command.code is not None:
                return None
            if now < self._deadline:
                return self._deadline
            ending = at_deadline(self._options.drain_timeout, now)
            self._begin(ending, signal.SIGTERM)
        if command.is_alone or ending.kill_at <= now:
            return None
        if command.code is not None and not self._is_rest_termed:
            self._is_rest_termed = True  # it did not take them with it: they may finish too
            command.tell_all(signal.SIGTERM)
        if ending.term_at <= now:
            self._tell(signal.SIGTERM)
        return ending.kill_at if self._is_termed else ending.term_at

    def _begin(self, ending: Ending, signum: int) -> None:
        self._ending = ending
        within = format_span(max(0.0, ending.gone_at - ending.began_at))
        self._tell(signum)
        self._lines.say("draining", reason=ending.reason, within=within)

    def _tell(self, signum: int) -> None:
        """Tell the command to end: TERM once only, since many take a second one for "at once"."""
        if signum == signal.SIGTERM and self._is_termed:
            return
        self._is_termed = self._is_termed or signum == signal.SIGTERM
        self._command.tell(signum)
        self._command.proceed()

    def _wait(self, until: float) -> None:
        """Wait for a signal and do what it asks for."""
        if self._command.was_suspended and os.getpid() != 1 and terminal.is_there():
            self._command.was_suspended = False
            os.kill(os.getpid(), signal.SIGSTOP)  # so that the shell notices; it sends SIGCONT
        nap = min(_LONGEST_NAP, until - boot_clock())
        arrived = signal.sigtimedwait(TAKEN, max(0.0, nap))
        if arrived is None or arrived.si_signo in _OUR_OWN:
            return
        self._command.reap()  # it may have ended before it was asked to
        if arrived.si_signo in STOP_SIGNALS:
            self._stop(arrived.si_signo, boot_clock())
        elif arrived.si_signo == signal.SIGCONT:
            self._command.resume()
        else:
            self._command.tell(arrived.si_signo)

    def _stop(self, signum: int, now: float) -> None:
        if self._ending is None and self._command.code is not None:
            return
        before = self._ending
        ending = asked_to_stop(before, self._options.stop_timeout, now)
        if before is None:
            self._begin(ending, signum)
            return
        self._ending = ending
        self._lines.say("stop.hastened", stops=ending.stops)
        if ending.stops > 1:  # it has been told at the deadline; now it is told that it is urgent
            self._is_termed = self._is_termed and signum != signal.SIGTERM  # a second, on purpose
            self._tell(signum)
