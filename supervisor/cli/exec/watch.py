"""
The supervision of a command: its exit, signals, the deadline, lingering and the drain ladder.

A balancer with the same deadline drains after it, so a command that serves stays for LINGER longer.
The job's variable can move the deadline until TERM is sent.

There are no signal handlers: all signals are blocked and received by `sigtimedwait`, so none is
late or lost.  The deadline is on a clock that includes suspends; waits are measured by a clock that
does not, so they end every few seconds.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NamedTuple

from supervisor.cli.exec import serving, terminal
from supervisor.cli.exec.command import Command
from supervisor.cli.exec.log import StderrLog
from supervisor.cli.exec.options import Options
from supervisor.core.drain_ladder import DrainLadder
from supervisor.core.durations import format_span
from supervisor.core.signal_sets import STOP_SIGNALS, WAITED_FOR
from supervisor.system.clock import boot_clock

if TYPE_CHECKING:
    from supervisor.cli.exec.deadline import Deadline

#: Upper limit of one wait, in seconds.
_MAX_SLEEP = 5.0

#: How long to wait for killed processes, in seconds; one that hangs in a dead mount never exits.
_KILL_TIMEOUT = 0.3

#: How much later than this command the balancer may read a variable that has passed, in seconds:
#: after a failure both query again within 5 s.
_LATE_READING = 6.0

#: Signals that concern `exec` itself and are not forwarded: its children, writes and terminal.
_NOT_FORWARDED = frozenset(
    {signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTTIN, signal.SIGTTOU}
)


class Outcome(NamedTuple):
    """
    Why the run ended, how long the shutdown took, and how many processes were killed.

    `duration` is in seconds, None if the command exited by itself.
    """

    reason: str
    duration: float | None
    killed: int


class CommandSupervisor:
    """
    Supervises a started command until all of its processes have exited.
    """

    def __init__(
        self, command: Command, options: Options, deadline: Deadline, log: StderrLog
    ) -> None:
        self._command = command
        self._options = options
        self._deadline = deadline
        self._log = log
        self._linger_until: float | None = None  # set at the deadline
        self._ladder = DrainLadder()
        self._is_termed = False
        self._are_others_termed = False

    def run(self) -> Outcome:
        """
        Supervise until the end, then kill the remaining processes.
        """
        while True:
            self._command.reap()
            wake_at = self._advance(boot_clock())
            if wake_at is None:
                break
            self._wait(wake_at)
        killed = self.kill_all()
        if not self._ladder.has_begun:
            return Outcome("command ended", None, killed)
        return Outcome(self._ladder.reason, boot_clock() - self._ladder.began_at, killed)

    def kill_all(self) -> int:
        """
        Kill all remaining processes and return their number.
        """
        killed = self._command.signal_all(signal.SIGKILL)
        until = boot_clock() + _KILL_TIMEOUT
        self._command.reap()
        while not self._command.is_alone and boot_clock() < until:
            signal.sigtimedwait({signal.SIGCHLD}, 0.02)
            self._command.signal_all(signal.SIGKILL)  # their children are adopted now
            self._command.reap()
        self._command.return_terminal()
        return killed

    def _advance(self, now: float) -> float | None:
        """Perform the steps that are due and return when the next one is; None at the end."""
        command = self._command
        if not self._ladder.has_begun:
            if command.code is not None and self._linger_until is None:
                return None
            if self._deadline.update():
                self._linger_until = None
            if now < self._deadline.at:
                return self._deadline.at
            if self._linger_until is None:
                self._linger_until = self._linger(now)
            if command.code is None and now < self._linger_until:
                return self._linger_until
            ladder = self._ladder.begin("deadline", self._options.drain_timeout, now)
            self._begin(ladder, signal.SIGTERM)
        ladder = self._ladder
        if command.is_alone or ladder.kill_at <= now:
            return None
        if command.code is not None and not self._are_others_termed:
            self._are_others_termed = True  # processes that outlive the command may finish too
            command.signal_all(signal.SIGTERM)
        if ladder.term_at <= now:
            self._signal(signal.SIGTERM)
        return ladder.kill_at if self._is_termed else ladder.term_at

    def _linger(self, now: float) -> float:
        """Return until when the command stays after the deadline, and log it if it does."""
        linger = self._options.linger
        until = self._deadline.at + linger + (_LATE_READING if self._deadline.is_late else 0.0)
        if now >= until or not linger or not (self._options.is_linger_set or serving.is_serving()):
            return self._deadline.at
        hint = (
            "a balancer with this deadline still drains; LINGER=0 ends the command at the deadline"
        )
        self._log.emit("lingering", within=format_span(until - now), hint=hint)
        return until

    def _begin(self, ladder: DrainLadder, signum: int) -> None:
        self._ladder = ladder
        within = format_span(max(0.0, ladder.gone_at - ladder.began_at))
        self._signal(signum)
        self._log.emit("draining", reason=ladder.reason, within=within)

    def _signal(self, signum: int) -> None:
        """Send a stop signal; TERM only once, because many programs abort at the second one."""
        if signum == signal.SIGTERM and self._is_termed:
            return
        self._is_termed = self._is_termed or signum == signal.SIGTERM
        self._command.send_signal(signum)
        self._command.proceed()

    def _wait(self, until: float) -> None:
        """Wait for a signal and handle it."""
        if self._command.was_suspended and os.getpid() != 1 and terminal.is_there():
            self._command.was_suspended = False
            os.kill(os.getpid(), signal.SIGSTOP)  # so that the shell notices; it sends SIGCONT
        seconds = min(_MAX_SLEEP, until - boot_clock())
        arrived = signal.sigtimedwait(WAITED_FOR, max(0.0, seconds))
        if arrived is None or arrived.si_signo in _NOT_FORWARDED:
            return
        self._command.reap()  # it may have exited before this signal
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
        if self._linger_until is not None and not before.has_begun:
            before = before._replace(reason="deadline")
        ladder = before.stop(self._options.stop_timeout, now)
        if not before.has_begun:
            self._begin(ladder, signum)
            return
        self._ladder = ladder
        self._log.emit("stop.escalated", stops=ladder.stops)
        if ladder.stops > 1:  # the first stop after the deadline sends no second signal
            self._is_termed = self._is_termed and signum != signal.SIGTERM  # allow a second TERM
            self._signal(signum)
