"""
The start and the end of a run: read the settings, build the services, run the loop, report.

Configuration errors are found here, before nginx runs, and reported all at once.
"""

import os
import queue
import time
from collections.abc import Mapping
from pathlib import Path

from supervisor import __version__, discovery
from supervisor.core import lifecycle
from supervisor.core.commands import Command, Exit, Note, RequestJobStop, exit_command
from supervisor.core.config import load
from supervisor.core.config.settings import Settings
from supervisor.core.errors import ExecutableMissing, ExitCode, Problem
from supervisor.core.events import Event, TimePassed
from supervisor.core.job_stop import LATE_REQUEST_TIMEOUT
from supervisor.core.policy import decide
from supervisor.core.policy.awaiting_job_stop import late_answer
from supervisor.daemon import exit_report
from supervisor.daemon.entrypoint_scripts import run_scripts
from supervisor.daemon.inbox import Inbox
from supervisor.daemon.loop import Loop
from supervisor.daemon.services import build_services
from supervisor.discovery.cache import EndpointCache
from supervisor.nomad.stop_job import JobStopper
from supervisor.system import process
from supervisor.system.clock import boot_clock
from supervisor.system.log import Log, Writer
from supervisor.system.network import local_addresses
from supervisor.system.runtime_dir import claim_runtime
from supervisor.system.state_file import read_record


def serve(environ: Mapping[str, str]) -> int:
    """
    Serve until the deadline or a signal, and return the exit code.

    Raises Problem or ExecutableMissing when it cannot start.
    """
    settings = load.read(environ, os.path.exists, local_addresses())
    log = Log(Writer(), settings.log_level, _log_format(settings))
    log.redact([settings.nomad_token])
    log.emit(
        "supervisor.started",
        version=__version__,
        pid=os.getpid(),
        serves=settings.served,
        nomad=settings.nomad_addr if settings.service_name or settings.stops_job else None,
    )
    for given, meant in load.suspects(environ):
        log.emit("settings.suspect", "warning", variable=given, hint=f"did you mean {meant}?")
    record, error = read_record(Path(settings.state_dir))
    if error:
        log.emit("state.unusable", "warning", reason=error)
    resolved = lifecycle.resolve(settings, record, time.time())
    inbox, children = Inbox(), process.Children()
    sources = discovery.sources(settings, inbox.post, log.redact)
    state, commands = decide.first_state(
        settings, resolved, [source.name for source in sources], boot_clock()
    )
    if state.lifetime.is_ending:
        return exit_report.report(settings, _finish_late(settings, commands, log), log)
    for source in sources:
        source.start()  # first, so that the queries run while the rest is prepared
    try:
        lock = claim_runtime(environ)
        scripts = Path(settings.entrypoint_dir)
        remaining = state.lifetime.deadline - boot_clock()
        interrupted = run_scripts(scripts, children, log.emit, settings.start_timeout, remaining)
        if interrupted is not None:
            last = exit_command(ExitCode.OK, interrupted.reason, during=interrupted.script)
            stops_job = interrupted.is_deadline and settings.stops_job
            commands = [*([RequestJobStop()] if stops_job else []), last]
            return exit_report.report(settings, _finish_late(settings, commands, log), log)
        cache = EndpointCache(lock.folder, settings)
        state, notes = decide.load_cache(state, cache.read(), boot_clock())
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
        exit_report.report(settings, exit_command(error.code, str(error)), log)
        raise  # also printed on stderr, one line for each mistake
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
    return exit_report.report(settings, last, log, services.writer, services.access_log)


def _log_format(settings: Settings) -> str:
    return settings.log_format or ("console" if os.isatty(1) else "json")


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
