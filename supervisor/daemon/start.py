"""
The start and the last step of a run: put the parts together, then let the loop have it.

What is wrong is found here, before anything runs, and told all at once.
"""

import os
import queue
import time
from collections.abc import Mapping
from pathlib import Path

from supervisor import __version__
from supervisor.core import lifecycle
from supervisor.core.commands import Command, Exit, Note, RequestJobStop, exit_command
from supervisor.core.config import load as table
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
from supervisor.discovery import sources
from supervisor.discovery.cache import EndpointCache
from supervisor.nomad.stop_job import JobStopper
from supervisor.system import process
from supervisor.system.clock import boot_clock
from supervisor.system.log import Log, Writer
from supervisor.system.network import local_addresses
from supervisor.system.runtime_dir import claim_runtime
from supervisor.system.state_file import read_record

#: How long the end may wait for the last file and the last log lines, in seconds.
_FILES = 0.3
_LINES = 0.3


def serve(environ: Mapping[str, str]) -> int:
    """
    Serve until the deadline or a signal, and return the exit code.

    Raises Problem or ExecutableMissing when it cannot start.
    """
    settings = table.read(environ, os.path.exists, local_addresses())
    log = Log(Writer(), settings.log_level, _layout(settings))
    log.redact([settings.nomad_token])
    log.emit(
        "supervisor.started",
        version=__version__,
        pid=os.getpid(),
        serves=settings.served,
        nomad=settings.nomad_addr if settings.service_name or settings.stops_job else None,
    )
    for given, meant in table.suspects(environ):
        log.emit("settings.suspect", "warning", variable=given, hint=f"did you mean {meant}?")
    record, error = read_record(Path(settings.state_dir))
    if error:
        log.emit("state.unusable", "warning", reason=error)
    resolved = lifecycle.resolve(settings, record, time.time())
    inbox, children = Inbox(), process.Children()
    following = sources(settings, inbox.post, log.redact)
    state, commands = decide.first_state(
        settings, resolved, [source.name for source in following], boot_clock()
    )
    if state.lifetime.is_ending:
        return exit_report.report(settings, _finish_late(settings, commands, log), log)
    for source in following:
        source.start()  # first of all: while it asks, the rest is prepared
    try:
        folder = claim_runtime(environ)
        scripts = Path(settings.entrypoint_dir)
        remaining = state.lifetime.deadline - boot_clock()
        over = run_scripts(scripts, children, log.emit, settings.start_timeout, remaining)
        if over is not None:
            last = exit_command(ExitCode.OK, over.reason, during=over.script)
            asks = [RequestJobStop()] if over.is_deadline and settings.stops_job else []
            return exit_report.report(settings, _finish_late(settings, [*asks, last], log), log)
        caches = EndpointCache(folder, settings)
        state, notes = decide.load_cache(state, caches.read(), boot_clock())
        services = build_services(
            settings,
            folder,
            caches,
            log=log,
            inbox=inbox,
            following=tuple(following),
            children=children,
        )
    except (Problem, ExecutableMissing) as error:
        exit_report.report(settings, exit_command(error.code, str(error)), log)
        raise  # it is told on stderr too, one line for each mistake
    try:
        last = Loop(services, inbox).run(state, [*commands, *notes])
    except Exception as error:
        why = f"internal error: {type(error).__name__}: {error}"
        exit_report.report(
            settings,
            exit_command(ExitCode.SOFTWARE, why),
            log,
            services.writer,
            services.access_log,
        )
        raise
    finally:
        children.kill_all()
    return exit_report.report(settings, last, log, services.writer, services.access_log)


def _layout(settings: Settings) -> str:
    return settings.log_format or ("console" if os.isatty(1) else "json")


def _finish_late(settings: Settings, commands: list[Command], log: Log) -> Exit:
    """
    Perform the orders of such a start, and return the last of them.
    """
    *first, last = commands
    assert isinstance(last, Exit)
    for command in first:
        notes = [command] if isinstance(command, Note) else []
        if isinstance(command, RequestJobStop):
            notes = late_answer(settings, _request_stop(settings, log))
        for line in notes:
            log.emit(line.event, line.level, **line.fields)
    return last


def _request_stop(settings: Settings, log: Log) -> Event:
    answers: queue.SimpleQueue[Event] = queue.SimpleQueue()
    JobStopper(settings, answers.put, log.redact).request()
    try:
        return answers.get(timeout=LATE_REQUEST_TIMEOUT)
    except queue.Empty:
        return TimePassed()
