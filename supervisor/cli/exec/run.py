"""
`exec`: run any command, such as a replica, with the balancer's PID 1 and deadline.

Standard library only and Python 3.9, because it also ships as one file for other images
(`make onefile`).  It exits with 0 after the deadline or a stop signal, and with the command's own
code if the command exited by itself.
"""

from __future__ import annotations

import math
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from supervisor import __version__
from supervisor.cli.exec import options as exec_options
from supervisor.cli.exec.command import Command
from supervisor.cli.exec.deadline import Deadline
from supervisor.cli.exec.log import StderrLog
from supervisor.cli.exec.subreaper import Subreaper
from supervisor.cli.exec.watch import CommandSupervisor, Outcome
from supervisor.core.deadline_record import ResolvedDeadline, passed, resolve_deadline
from supervisor.core.durations import format_instant
from supervisor.core.errors import ExitCode
from supervisor.core.job_deadline import follow
from supervisor.core.signal_sets import STOP_SIGNALS, WAITED_FOR
from supervisor.system.clock import boot_clock
from supervisor.system.state_file import read_record, save_ended, save_record
from supervisor.system.time_limit import StopPendingError, run_within

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from supervisor.cli.exec.job_variable import Follower
    from supervisor.cli.exec.options import Options
    from supervisor.core.deadline_record import DeadlineRecord

HELP = """\
usage: exec [--] COMMAND [ARGUMENT ...]

Run a command for a limited time, as PID 1 or not, and exit cleanly.

At the deadline the command receives SIGTERM and has DRAIN_TIMEOUT to exit; the exit code is 0.
If it listens on a TCP port, it receives SIGTERM only LINGER after the deadline: a balancer with the
same deadline still drains to it.
SIGTERM, SIGINT and SIGQUIT are forwarded, and the command has STOP_TIMEOUT to exit: code 0 too.
If the command exits by itself: its own code, or 128+n after a fatal signal n.

TTL            lifetime: 90, 1.5h, 1h30m, 7d; 0 or never = no limit (24h); DURATION is an alias
DEADLINE       absolute deadline, RFC 3339 or epoch seconds; overrides TTL
LINGER         time from the deadline to SIGTERM; if set, also for a command that does not listen
               (30s, or DRAIN_TIMEOUT if that is longer)
DRAIN_TIMEOUT  total time the command may take to exit after that (30s)
STOP_TIMEOUT   the same after a stop signal (4s)
STATE_DIR      state that must survive a restart: the deadline; in a Nomad task its own folder
MAX_TTL        maximum time from the first start to a moved deadline (no limit)

In a Nomad task with an `identity` block, `autoexit-nginx extend` in the job's balancer and
`nomad var put nomad/jobs/JOB deadline=...` move the deadline."""


Result = TypeVar("Result")

#: How long the start waits for STATE_DIR, and a moved deadline and the exit for it, in seconds.
_DISK_TIMEOUT = 10.0
_MOVED_TIMEOUT = 0.3
_ENDED_TIMEOUT = 0.3

#: How long the record may take even if the DEADLINE is in the past, in seconds: it has the reason.
_LEAST_READ_TIME = 0.3

#: How long a start after the deadline asks Nomad whether it was moved, in seconds.
_ASK_TIMEOUT = 6.0

#: The code of a command that was killed by SIGKILL; if not by `exec`, then mostly by the kernel.
_KILLED = 128 + signal.SIGKILL


def run_command(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """
    Run the command until it exits, the deadline or a stop signal, and return the exit code.

    Raises Problem for an invalid command line or setting.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, WAITED_FOR)
    # If the parent ignored it, the kernel would reap the children, and their codes would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if list(arguments) in (["--help"], ["-h"]):
        os.write(1, HELP.encode() + b"\n")
        return ExitCode.OK
    command = exec_options.command_in(arguments)
    options = exec_options.read(environ)
    return _Run(command, options).run()


class _Run:
    """
    One run: its deadline, its command and its report.
    """

    def __init__(self, arguments: Sequence[str], options: Options) -> None:
        self._arguments = arguments
        self._options = options
        self._log = StderrLog()
        self._state_dir = options.state_dir
        self._began_at, self._wall = boot_clock(), time.time()

    def run(self) -> int:
        try:
            resolved = self._resolve_deadline()
        except StopPendingError:
            return self._stopped()
        try:
            if resolved.remaining is not None and resolved.remaining <= 0:
                resolved = self._ask_nomad(resolved)
            if resolved.remaining is not None and resolved.remaining <= 0:
                why, hint = passed(resolved.record, self._options.state_dir)
                return self._report(ExitCode.OK, why, hint=hint)
            left = math.inf if resolved.remaining is None else resolved.remaining
            self._save(resolved.record, left)
        except StopPendingError:
            return self._stopped()
        if STOP_SIGNALS & signal.sigpending():
            return self._stopped()
        if boot_clock() >= self._began_at + left:  # the disk hung until then
            return self._report(ExitCode.OK, "deadline")
        subreaper = Subreaper()
        if not subreaper.adopts:
            reason = "cannot adopt orphans: ctypes is missing or prctl is denied"
            hint = "processes that leave the command's process group may keep running"
            self._log.emit("exec.not_subreaper", "warning", reason=reason, hint=hint)
        command = Command(self._arguments, subreaper)
        try:
            command.start()
        except OSError as error:
            return self._cannot_start(error)
        end = resolved.record.end
        self._log.emit(
            "exec.started",
            version=__version__,
            command=self._arguments[0],  # its arguments may contain secrets
            pid=command.pid,
            deadline=None if end is None else format_instant(end),
            origin=resolved.record.origin,
            remaining=None if resolved.remaining is None else round(resolved.remaining, 3),
        )
        deadline = Deadline(
            resolved.record,
            self._began_at + left,
            max_ttl=self._options.max_ttl,
            follower=self._start_follower(),
            log=self._log,
            save=self._save_moved,
        )
        watch = CommandSupervisor(command, self._options, deadline, self._log)
        try:
            outcome = watch.run()
        except BaseException:
            watch.kill_all()
            raise
        return self._finish(command, outcome)

    def _resolve_deadline(self) -> ResolvedDeadline:
        """Resolve the deadline, and log what was wrong with an earlier record."""
        record, error = None, ""
        folder, lifetime = self._state_dir, self._options.deadline.end(self._wall)
        if folder:
            left = math.inf if lifetime is None else lifetime - self._wall
            try:
                least = max(_LEAST_READ_TIME, left)
                record, error = self._on_disk(lambda: read_record(folder), least)
            except TimeoutError as late:
                error = f"cannot read {folder}: {late.strerror}; counting from now"
        if error:
            self._log.emit("state.unusable", "warning", reason=error)
        resolved = resolve_deadline(self._options.deadline, record, self._wall)
        if resolved.warning:
            self._log.emit("deadline.anchored", "warning", reason=resolved.warning)
        return resolved

    def _ask_nomad(self, resolved: ResolvedDeadline) -> ResolvedDeadline:
        """
        Ask, at a start after the deadline, whether the job's variable has moved it.

        Raises StopPendingError.
        """
        access = self._options.nomad
        if access is None:
            return resolved
        from supervisor.cli.exec import job_variable

        try:
            answer = run_within(_ASK_TIMEOUT, lambda: job_variable.query_patiently(access))
        except (job_variable.QueryError, TimeoutError) as error:
            self._log.emit("deadline.not_followed", "warning", reason=str(error))
            return resolved
        followed = follow(resolved.record, answer.variable, self._options.max_ttl)
        if followed.problem:
            self._log.emit("deadline.not_moved", "warning", reason=followed.problem)
        end = followed.record.end
        remaining = None if end is None else end - self._wall
        return ResolvedDeadline(followed.record, remaining)

    def _start_follower(self) -> Follower | None:
        """Follow the job's variable; after the command has started, because there is no fork."""
        if self._options.nomad is None:
            return None
        from supervisor.cli.exec.job_variable import Follower

        follower = Follower(self._options.nomad)
        follower.start()
        return follower

    def _save_moved(self, record: DeadlineRecord) -> None:
        """Save a moved deadline; a disk that hangs delays neither it nor a stop signal for long."""
        folder = self._state_dir
        if not folder:
            return
        try:
            run_within(_MOVED_TIMEOUT, lambda: save_record(folder, record), heed_stop=False)
        except OSError as error:
            reason = f"cannot save the moved deadline in {folder}: {error.strerror}"
            self._log.emit("state.unusable", "warning", reason=reason)

    def _save(self, record: DeadlineRecord, left: float) -> None:
        folder = self._state_dir
        if not folder:
            return
        try:
            self._on_disk(lambda: save_record(folder, record), left)
        except OSError as error:
            reason = f"cannot save the deadline in {folder}: {error.strerror}"
            hint = "a restart would reset it: set STATE_DIR or DEADLINE"
            self._log.emit("state.unusable", "warning", reason=reason, hint=hint)

    def _on_disk(self, act: Callable[[], Result], left: float) -> Result:
        """
        Read or write in STATE_DIR, which is not used any more once its disk hangs.

        `left` is the time from the start to the deadline, in seconds.
        """
        until = self._began_at + left - boot_clock()
        try:
            return run_within(min(_DISK_TIMEOUT, max(0.0, until)), act)
        except TimeoutError:
            self._state_dir = ""
            raise

    def _stopped(self) -> int:
        return self._report(ExitCode.OK, "stop signal before the start")

    def _cannot_start(self, error: OSError) -> int:
        name = self._arguments[0]
        code, reason = ExitCode.NOT_EXECUTABLE, error.strerror
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            if _exists(name):
                reason = "the interpreter in its first line does not exist"
            else:
                code, reason = ExitCode.NOT_FOUND, "it does not exist"
        return self._report(code, f"cannot execute {name!r}: {reason}; giving up")

    def _finish(self, command: Command, outcome: Outcome) -> int:
        """Return the command's own code only if it exited by itself."""
        is_shutdown = outcome.duration is not None
        fields: dict[str, object] = {
            "command_code": command.code,
            "drained_in": None if outcome.duration is None else round(outcome.duration, 3),
            "killed": outcome.killed or None,
            "hint": None if is_shutdown or command.code != _KILLED else "possibly out of memory",
        }
        code = ExitCode.OK if is_shutdown or command.code is None else command.code
        return self._report(code, outcome.reason, **fields)

    def _report(self, code: int, reason: str, **fields: object) -> int:
        """Write the last log line and `ended.json`, and return the exit code."""
        reported = {name: value for name, value in fields.items() if value is not None}
        level = "info" if code == ExitCode.OK else "error"
        self._log.emit("ended", level, reason=reason, code=int(code), **reported)
        if self._state_dir:
            ended = {
                "reason": reason,
                "code": int(code),
                "at": format_instant(time.time()),
                **reported,
            }
            ended["log_lines_dropped"] = self._log.dropped
            folder = self._state_dir
            with suppress(TimeoutError):  # such a disk must not delay the exit
                run_within(_ENDED_TIMEOUT, lambda: save_ended(folder, ended), heed_stop=False)
        return int(code)


def _exists(name: str) -> bool:
    if "/" in name:
        return os.path.exists(name)
    return any(os.path.exists(os.path.join(folder, name)) for folder in os.get_exec_path())
