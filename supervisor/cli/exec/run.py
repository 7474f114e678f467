"""
`exec`: the same PID 1 and the same deadline around any command, such as a replica.

Standard library only and good for Python 3.9, because it also ships as one file for images that
are not ours (`make onefile`).  It ends with 0 when the deadline has come or a stop was asked for,
and with the command's own code when the command ended by itself.
"""

from __future__ import annotations

import math
import os
import signal
import time
from typing import TYPE_CHECKING

from supervisor import __version__
from supervisor.cli.exec import options as table
from supervisor.cli.exec.command import Command
from supervisor.cli.exec.log import StderrLog
from supervisor.cli.exec.subreaper import Subreaper
from supervisor.cli.exec.watch import CommandSupervisor, Outcome
from supervisor.core.deadline_record import ResolvedDeadline, resolve_deadline
from supervisor.core.durations import format_instant
from supervisor.core.errors import ExitCode
from supervisor.core.signal_sets import STOP_SIGNALS, WAITED_FOR
from supervisor.system.clock import boot_clock
from supervisor.system.state_file import read_record, save_ended, save_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from supervisor.cli.exec.options import Options

HELP = """\
usage: exec [--] COMMAND [ARGUMENT ...]

Run a command for a limited time, as PID 1 or not, and end cleanly.

At the deadline the command gets SIGTERM and DRAIN_TIMEOUT to end, and the exit code is 0.
SIGTERM, SIGINT and SIGQUIT reach the command, which has STOP_TIMEOUT to end: exit code 0 too.
A command that ends by itself: its own code, or 128+n for a death by signal n.

TTL            lifetime: 90, 1.5h, 1h30m, 7d; 0 or never = no limit (24h); DURATION is the same
DEADLINE       absolute end, RFC 3339 or epoch seconds; wins over TTL
DRAIN_TIMEOUT  how long the command may take after the deadline, in all (30s)
STOP_TIMEOUT   the same after a stop signal (4s)
STATE_DIR      what must survive a restart: the deadline; in a Nomad task its own folder"""


#: The code of a command that somebody killed outright; if we did not, it was mostly the kernel.
_KILLED = 128 + signal.SIGKILL


def run_command(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """
    Run the command until its end, the deadline or a stop, and return the exit code.

    Raises Problem when it is told nonsense.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, WAITED_FOR)
    # Where a parent left it ignored, the kernel buries our children itself and no code is seen.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if list(words) in (["--help"], ["-h"]):
        os.write(1, HELP.encode() + b"\n")
        return ExitCode.OK
    command = table.command_in(words)
    options = table.read(environ)
    return _Run(command, options).run()


class _Run:
    """
    One run: where its deadline stands, and what is told of it at the end.
    """

    def __init__(self, words: Sequence[str], options: Options) -> None:
        self._words = words
        self._options = options
        self._log = StderrLog()
        self._began_at = boot_clock()

    def run(self) -> int:
        resolved = self._resolve_deadline()
        if resolved.remaining is not None and resolved.remaining <= 0:
            hint = f"remove {self._options.state_dir}/state.json to start anew"
            return self._leave(ExitCode.OK, "deadline passed before this start", hint=hint)
        self._save(resolved)
        if STOP_SIGNALS & signal.sigpending():
            return self._leave(ExitCode.OK, "stop signal before the start")
        subreaper = Subreaper()
        if not subreaper.adopts:
            reason = "cannot adopt orphans: there is no ctypes, or prctl is refused"
            hint = "what leaves the command's process group may outlive us"
            self._log.emit("exec.not_subreaper", "warning", reason=reason, hint=hint)
        command = Command(self._words, subreaper)
        try:
            command.start()
        except OSError as error:
            return self._cannot_start(error)
        end = resolved.record.end
        self._log.emit(
            "exec.started",
            version=__version__,
            command=self._words[0],  # its arguments may hold secrets
            pid=command.pid,
            deadline=None if end is None else format_instant(end),
            origin=resolved.record.origin,
            remaining=None if resolved.remaining is None else round(resolved.remaining, 3),
        )
        left = math.inf if resolved.remaining is None else resolved.remaining
        watch = CommandSupervisor(command, self._options, self._began_at + left, self._log)
        try:
            outcome = watch.run()
        except BaseException:
            watch.kill_all()
            raise
        return self._finish(command, outcome)

    def _resolve_deadline(self) -> ResolvedDeadline:
        """Find where the deadline stands, and say what was wrong with an earlier record."""
        record, trouble = None, ""
        if self._options.state_dir:
            record, trouble = read_record(self._options.state_dir)
        if trouble:
            self._log.emit("state.unusable", "warning", reason=trouble)
        resolved = resolve_deadline(self._options.wish, record, time.time())
        if resolved.warning:
            self._log.emit("deadline.anchored", "warning", reason=resolved.warning)
        return resolved

    def _save(self, resolved: ResolvedDeadline) -> None:
        if not self._options.state_dir:
            return
        try:
            save_record(self._options.state_dir, resolved.record)
        except OSError as error:
            reason = f"cannot keep the deadline in {self._options.state_dir}: {error.strerror}"
            hint = "a restart counts anew: set STATE_DIR, or a DEADLINE"
            self._log.emit("state.unusable", "warning", reason=reason, hint=hint)

    def _cannot_start(self, error: OSError) -> int:
        name = self._words[0]
        code, trouble = ExitCode.NOT_EXECUTABLE, error.strerror
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            if _exists(name):
                trouble = "the interpreter that it names does not exist"
            else:
                code, trouble = ExitCode.NOT_FOUND, "it does not exist"
        return self._leave(code, f"cannot execute {name!r}: {trouble}; giving up")

    def _finish(self, command: Command, outcome: Outcome) -> int:
        """Leave with the command's own code only where its end was its own."""
        asked = outcome.duration is not None
        fields: dict[str, object] = {
            "command_code": command.code,
            "drained_in": None if outcome.duration is None else round(outcome.duration, 3),
            "killed": outcome.killed or None,
            "hint": None if asked or command.code != _KILLED else "perhaps for its memory",
        }
        code = ExitCode.OK if asked or command.code is None else command.code
        return self._leave(code, outcome.reason, **fields)

    def _leave(self, code: int, reason: str, **fields: object) -> int:
        """Say why it ended, where people and programs look."""
        told = {name: value for name, value in fields.items() if value is not None}
        level = "info" if code == ExitCode.OK else "error"
        self._log.emit("ended", level, reason=reason, code=int(code), **told)
        if self._options.state_dir:
            ended = {"reason": reason, "code": int(code), "at": format_instant(time.time()), **told}
            ended["log_lines_dropped"] = self._log.lost
            save_ended(self._options.state_dir, ended)
        return int(code)


def _exists(name: str) -> bool:
    if "/" in name:
        return os.path.exists(name)
    return any(os.path.exists(os.path.join(folder, name)) for folder in os.get_exec_path())
