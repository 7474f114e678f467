"""
The start and the end of a run: read the settings, build the services, run the loop, report.

Configuration errors are found here, before nginx runs, and reported all at once.
"""

import os
import queue
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from supervisor import __version__, discovery
from supervisor.core import lifecycle
from supervisor.core.commands import Command, Exit, Note, RequestJobStop, exit_command
from supervisor.core.config import load
from supervisor.core.config.instance import PROGRAM
from supervisor.core.config.settings import Settings
from supervisor.core.deadline_record import DeadlineRecord, ResolvedDeadline
from supervisor.core.errors import ExecutableMissing, ExitCode, FolderInUse, Problem
from supervisor.core.events import Event, TimePassed
from supervisor.core.job_deadline import follow
from supervisor.core.job_stop import LATE_REQUEST_TIMEOUT
from supervisor.core.model import NEVER, CachedEndpoints
from supervisor.core.policy import decide
from supervisor.core.policy.awaiting_job_stop import late_answer
from supervisor.daemon import exit_report
from supervisor.daemon.entrypoint_scripts import Interrupted, run_scripts
from supervisor.daemon.inbox import Inbox
from supervisor.daemon.loop import Loop
from supervisor.daemon.services import build_services
from supervisor.discovery.cache import EndpointCache
from supervisor.nomad.errors import NomadError
from supervisor.nomad.stop_job import JobStopper
from supervisor.nomad.token import token_problem
from supervisor.system import process
from supervisor.system.clock import boot_clock
from supervisor.system.console_lines import wants_colours
from supervisor.system.log import Log, Writer
from supervisor.system.network import local_addresses
from supervisor.system.parent_shell import shell_around
from supervisor.system.runtime_dir import RuntimeLock, claim_runtime, lock_state
from supervisor.system.state_file import read_record
from supervisor.system.time_limit import StopPendingError, run_within

Result = TypeVar("Result")

#: How long reading the token file may delay the start, in seconds.
_TOKEN_TIMEOUT = 0.3

#: How long a start after the deadline asks Nomad whether it was moved, in seconds.
_ASK_TIMEOUT = 6.0

#: How long the record may take even if the DEADLINE is in the past, in seconds: it has the reason.
_LEAST_READ_TIME = 0.3


def serve(environ: Mapping[str, str]) -> int:
    """
    Serve until the deadline or a signal, and return the exit code.

    Raises Problem or ExecutableMissing when it cannot start.
    """
    settings = load.read(environ, os.path.exists, local_addresses(), _program(environ))
    log = _log(settings, environ)
    log.redact([settings.nomad_token])
    log.emit(
        "supervisor.started",
        version=__version__,
        pid=os.getpid(),
        serves=settings.served,
        nomad=settings.nomad_addr if settings.service_name or settings.stops_job else None,
    )
    for variable, hint in load.hints(environ, settings):
        log.emit("settings.suspect", "warning", variable=variable, hint=hint)
    _report_port(settings, log)
    if shell := shell_around():
        _report_shell(shell, log)
    if settings.nomad_token_file and (settings.service_name or settings.stops_job):
        try:
            problem = run_within(_TOKEN_TIMEOUT, partial(token_problem, settings), heed_stop=False)
        except TimeoutError:
            problem = f"cannot use NOMAD_TOKEN_FILE={settings.nomad_token_file!r}: its disk hangs"
        if problem:
            log.emit("token.unusable", "warning", reason=problem)
    try:
        return _serve(environ, settings, log)
    except _Interruption as stop:
        last = exit_command(ExitCode.OK, stop.by.reason, during=stop.by.during)
        stops_job = stop.by.is_deadline and settings.stops_job
        commands: list[Command] = [*([RequestJobStop()] if stops_job else []), last]
        return exit_report.report(settings, _finish_late(settings, commands, log), log)


def _program(environ: Mapping[str, str]) -> str:
    """
    Return how `nomad alloc exec` finds this program: by its path if it is not on PATH.

    That is so with raw_exec, which looks a command up on the PATH of Nomad's agent.
    """
    path = Path(sys.argv[0])
    is_on_path = shutil.which(PROGRAM, path=environ.get("PATH", ""))
    return PROGRAM if is_on_path or path.name != PROGRAM else str(path.absolute())


def _serve(environ: Mapping[str, str], settings: Settings, log: Log) -> int:
    """Serve with valid settings.  Raises _Interruption when the start is interrupted."""
    wall, now = time.time(), boot_clock()
    record, error, is_ours = _read_state(settings, wall, now)
    if error:
        log.emit("state.unusable", "warning", reason=error)
    resolved = lifecycle.resolve(settings, record, wall)
    if resolved.remaining is not None and resolved.remaining <= 0 and settings.job_variable:
        resolved = _ask_job(settings, resolved, wall, log)
    inbox, children = Inbox(), process.Children()
    sources = discovery.sources(settings, inbox.post, log.redact)
    state, commands = decide.first_state(
        settings, resolved, [source.name for source in sources], now
    )
    if state.lifetime.is_ending:
        return exit_report.report(settings, _finish_late(settings, commands, log), log)
    for source in sources:
        source.start()  # first, so that the queries run while the rest is prepared
    try:
        lock = _claim(environ, settings, state.lifetime.deadline)
        if not is_ours:
            raise FolderInUse(f"STATE_DIR={settings.state_dir!r}")
        folder = lock.folder
        scripts = Path(settings.entrypoint_dir)
        remaining = state.lifetime.deadline - boot_clock()
        _continue(run_scripts(scripts, children, log.emit, settings.start_timeout, remaining))
        cache = EndpointCache(folder, settings)
        caches, error = _read_cache(cache, folder, settings, state.lifetime.deadline)
        if error:
            log.emit("cache.unusable", "warning", reason=error)
        state, notes = decide.load_cache(state, caches, boot_clock())
        services = build_services(
            settings,
            lock,
            cache,
            log=log,
            inbox=inbox,
            sources=tuple(sources),
            children=children,
        )
    except (Problem, ExecutableMissing) as error:
        saves = not isinstance(error, FolderInUse)
        exit_report.report(settings, exit_command(error.code, str(error)), log, saves=saves)
        raise  # also printed on stderr, one line for each mistake
    except OSError as error:  # a folder in the place of one of our files, for example
        reason = f"cannot use {error.filename or 'RUNTIME_DIR'}: {error.strerror}; giving up"
        exit_report.report(settings, exit_command(ExitCode.CONFIG, reason), log)
        raise Problem(ExitCode.CONFIG, reason) from error
    try:
        last = Loop(services, inbox).run(state, [*commands, *notes])
    except Exception as error:
        reason = f"internal error: {type(error).__name__}: {error}"
        exit_report.report(
            settings,
            exit_command(ExitCode.SOFTWARE, reason),
            log,
            services.writer,
            services.access_log,
        )
        raise
    finally:
        children.kill_all()
    exit_report.print_reason(last)
    return exit_report.report(settings, last, log, services.writer, services.access_log)


def _report_shell(shell: str, log: Log) -> None:
    """Log that no stop signal will arrive."""
    log.emit(
        "supervisor.under_shell",
        "warning",
        reason=f"PID 1 is {shell}, which passes no stop signal on: a stop will end in a kill, 137",
        hint=f"make autoexit-nginx the command itself, or use `{shell} -c 'exec autoexit-nginx'`",
    )


def _ask_job(
    settings: Settings, resolved: ResolvedDeadline, wall: float, log: Log
) -> ResolvedDeadline:
    """Ask, at a start after the deadline, whether the job's variable has moved it."""
    from supervisor.nomad.job_variable import ask  # noqa: PLC0415 - most starts do not ask

    try:
        variable = run_within(_ASK_TIMEOUT, partial(ask, settings, log.redact))
    except StopPendingError:
        raise _Interruption(Interrupted("stop signal", settings.job_variable)) from None
    except (NomadError, TimeoutError) as error:
        log.emit("job_deadline.failed", "warning", reason=str(error))
        return resolved
    followed = follow(resolved.record, variable, settings.max_ttl)
    if followed.problem:
        log.emit("deadline.not_moved", "warning", reason=followed.problem)
    end = followed.record.end
    return resolved._replace(record=followed.record, remaining=None if end is None else end - wall)


def _report_port(settings: Settings, log: Log) -> None:
    """Log which of the group's ports was chosen, and why no client reaches the public port."""
    environment, port = settings.task_environment, settings.listen_port
    if environment.port_label:
        hint = "the group's only port; set LISTEN_PORT to listen on another one"
        log.emit("listen.port_chosen", label=environment.port_label, port=port, hint=hint)
    if environment.port_warning:
        log.emit("listen.port_unpublished", "warning", port=port, reason=environment.port_warning)


class _Interruption(Exception):
    """The start ended before the loop: by a stop signal or by the deadline."""

    def __init__(self, by: Interrupted) -> None:
        super().__init__(by.reason)
        self.by = by


def _continue(interrupted: Interrupted | None) -> None:
    """Raise _Interruption if the start was interrupted."""
    if interrupted is not None:
        raise _Interruption(interrupted)


def _on_disk(
    act: Callable[[], Result], folder: Path | str, settings: Settings, deadline: float
) -> Result:
    """
    Read or write files; a disk that hangs is given up after START_TIMEOUT.

    Raises TimeoutError then, and _Interruption at the deadline or for a stop signal.
    """
    try:
        return run_within(min(settings.start_timeout, max(0.0, deadline - boot_clock())), act)
    except StopPendingError:
        raise _Interruption(Interrupted("stop signal", str(folder))) from None
    except TimeoutError:
        if boot_clock() < deadline:
            raise
        raise _Interruption(Interrupted("deadline", str(folder))) from None


def _read_state(
    settings: Settings, wall: float, now: float
) -> tuple[DeadlineRecord | None, str, bool]:
    """
    Read the deadline record, and why it cannot be used; it may not outlast the lifetime.

    The last value is False if another supervisor uses STATE_DIR.
    """
    folder = Path(settings.state_dir)
    lifetime = lifecycle.resolve(settings, None, wall).remaining
    deadline = NEVER if lifetime is None else now + max(_LEAST_READ_TIME, lifetime)
    try:
        is_ours = _on_disk(partial(lock_state, folder), folder, settings, deadline)
        record, error = _on_disk(partial(read_record, folder), folder, settings, deadline)
    except TimeoutError as error:
        return None, f"cannot read {folder}: {error.strerror}; counting from now", True
    return record, error, is_ours


def _claim(environ: Mapping[str, str], settings: Settings, deadline: float) -> RuntimeLock:
    """Claim RUNTIME_DIR.  Raises Problem and what `_on_disk` raises."""
    name = settings.runtime_dir or "RUNTIME_DIR"
    try:
        return _on_disk(partial(claim_runtime, environ), name, settings, deadline)
    except TimeoutError as error:
        raise Problem(ExitCode.CONFIG, f"cannot use {name}: {error.strerror}; giving up") from error


def _read_cache(
    cache: EndpointCache, folder: Path, settings: Settings, deadline: float
) -> tuple[dict[str, CachedEndpoints], str]:
    """Read the cached endpoints, and why there are none."""
    try:
        return _on_disk(cache.read, folder, settings, deadline)
    except TimeoutError as error:
        return {}, f"cannot read {folder}: {error.strerror}; waiting for the sources"


def _log(settings: Settings, environ: Mapping[str, str]) -> Log:
    is_terminal = os.isatty(1)
    layout = settings.log_format or ("console" if is_terminal else "json")
    colours = wants_colours(environ, is_terminal=is_terminal)
    return Log(Writer(), settings.log_level, layout, colours=colours)


def _finish_late(settings: Settings, commands: list[Command], log: Log) -> Exit:
    """
    Perform the commands of a start without nginx, and return the last one, which is Exit.
    """
    *first, last = commands
    assert isinstance(last, Exit)
    for command in first:
        notes = [command] if isinstance(command, Note) else []
        if isinstance(command, RequestJobStop):
            notes = late_answer(settings, _request_stop(settings, log))
        for note in notes:
            log.emit(note.event, note.level, **note.fields)
    return last


def _request_stop(settings: Settings, log: Log) -> Event:
    answers: queue.SimpleQueue[Event] = queue.SimpleQueue()
    JobStopper(settings, answers.put, log.redact).request()
    try:
        return answers.get(timeout=LATE_REQUEST_TIMEOUT)
    except queue.Empty:
        return TimePassed()
