"""
The start and the last step of a run: put the parts together, then let the loop have it.

What is wrong is found here, before anything runs, and told all at once.
"""

import os
import signal
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor import (
    __version__,
    latecomer,
    lifetime,
    machine,
    policy,
    process,
    signals,
    workplace,
)
from supervisor import settings as table
from supervisor.admin import Admin, Surroundings
from supervisor.discovery import Source, sources
from supervisor.durations import format_instant
from supervisor.entrypoint import run_scripts
from supervisor.errors import ExecutableMissing, ExitCode, Problem
from supervisor.files import Clerk
from supervisor.files.configs import Configs
from supervisor.files.memories import Memories
from supervisor.logs import Log, Writer
from supervisor.looker import Looker
from supervisor.loop import Hands, Inbox, Loop, boot_clock
from supervisor.nginx import Nginx, find
from supervisor.orders import AskJobStop, Exit, leave
from supervisor.probes import prober
from supervisor.records import read_record, save_ended
from supervisor.settings import Settings
from supervisor.stopper import Stopper

if TYPE_CHECKING:
    from supervisor.access import AccessLog

#: How long the end may wait for the last file and the last log lines, in seconds.
_FILES = 0.3
_LINES = 0.3


def run(environ: Mapping[str, str]) -> int:
    """
    Serve until the deadline or a signal, and return the exit code.

    Raises Problem or ExecutableMissing when it cannot start.
    """
    settings = table.read(environ, os.path.exists, machine.local_addresses())
    log = Log(Writer(), settings.log_level, _layout(settings))
    log.hide([settings.nomad_token])
    log.say(
        "supervisor.started",
        version=__version__,
        pid=os.getpid(),
        serves=_served(settings),
        nomad=settings.nomad_addr if settings.service_name or settings.stops_job else None,
    )
    for given, meant in table.suspects(environ):
        log.say("settings.suspect", "warning", variable=given, hint=f"did you mean {meant}?")
    record, trouble = read_record(Path(settings.state_dir))
    if trouble:
        log.say("state.unusable", "warning", reason=trouble)
    anchor = lifetime.anchor(settings, record, time.time())
    inbox, children = Inbox(), process.Children()
    following = sources(settings, inbox.post, log.hide)
    state, orders = policy.begin(
        settings, anchor, [source.name for source in following], boot_clock()
    )
    if state.lifetime.is_ending:
        return _farewell(settings, latecomer.attend(settings, orders, log), log, None)
    for source in following:
        source.start()  # first of all: while it asks, the rest is prepared
    try:
        folder = workplace.claim_runtime(environ)
        scripts = Path(settings.entrypoint_dir)
        remaining = state.lifetime.deadline - boot_clock()
        over = run_scripts(scripts, children, log.say, settings.start_timeout, remaining)
        if over is not None:
            last = leave(ExitCode.OK, over.reason, during=over.script)
            asks = [AskJobStop()] if over.is_deadline and settings.stops_job else []
            return _farewell(settings, latecomer.attend(settings, [*asks, last], log), log, None)
        memories = Memories(folder, settings)
        state, said = policy.recall(state, memories.read(), boot_clock())
        hands = _hands(
            settings,
            folder,
            memories,
            log=log,
            inbox=inbox,
            following=tuple(following),
            children=children,
        )
    except (Problem, ExecutableMissing) as error:
        _farewell(settings, leave(error.code, str(error)), log, None)
        raise  # it is told on stderr too, one line for each mistake
    try:
        last = Loop(hands, inbox).run(state, [*orders, *said])
    except Exception as error:
        why = f"internal error: {type(error).__name__}: {error}"
        _farewell(settings, leave(ExitCode.SOFTWARE, why), log, hands)
        raise
    finally:
        children.leave_nobody()
    return _farewell(settings, last, log, hands)


def _hands(
    settings: Settings,
    folder: Path,
    memories: Memories,
    *,
    log: Log,
    inbox: Inbox,
    following: tuple[Source, ...],
    children: process.Children,
) -> Hands:
    """Build everything that acts, and start its threads."""
    binary = find(settings.nginx_binary)
    log.say(
        "nginx.found",
        path=binary.path,
        version=".".join(map(str, binary.version)),
        runtime=str(folder),
    )
    threading.excepthook = lambda trouble: _defect(log, trouble)
    process.close_inherited()
    process.become_subreaper()
    process.hide_environment()
    configs = Configs(
        folder, workplace.renderer(settings, binary, folder), workplace.operator_reader(settings)
    )
    configs.clear()
    looker = Looker(str(folder / "generation.sock"), inbox.post)
    around = Surroundings(
        folder=folder,
        nginx=".".join(map(str, binary.version)),
        has_stub_status=binary.has_stub_status,
        is_published=settings.admin_port is not None,
        readers=machine.worker_user().rpartition(" ")[2],
        looks=lambda: looker.looks,
    )
    hands = Hands(
        nginx=Nginx(binary, folder, children, log.say, inbox.post),
        clerk=Clerk(configs, memories, Path(settings.state_dir), inbox.post),
        configs=configs,
        looker=looker,
        admin=Admin(around, inbox.post),
        log=log,
        sources=following,
        probing=prober(settings, inbox.post, log.hide),
        stopper=Stopper(settings, inbox.post, log.hide),
        port=settings.listen_port,
        worker_count=machine.worker_count(),
        access=_access_log(settings, folder, log),
    )
    for part in (hands.nginx, hands.clerk, hands.looker, hands.admin, hands.probing, hands.access):
        if part is not None:
            part.start()

    def on_signal(signum: int) -> None:
        if signum == signal.SIGCHLD:
            for ended in children.reap():
                inbox.post(ended)
        else:
            inbox.post_signal(signum)

    signals.listen(on_signal)
    return hands


def _access_log(settings: Settings, folder: Path, log: Log) -> "AccessLog | None":
    """Build what follows the access log, where there is one: memory is a promise."""
    if settings.access_log == "off":
        return None
    from supervisor.access import AccessLog  # noqa: PLC0415

    return AccessLog(folder, log.record, log.say)


def _defect(log: Log, trouble: threading.ExceptHookArgs) -> None:
    """End the program when a thread of ours dies: half of it left running would be worse."""
    lines = traceback.format_exception(trouble.exc_type, trouble.exc_value, trouble.exc_traceback)
    name = trouble.thread.name if trouble.thread else "unknown"
    log.say("defect", "error", thread=name, traceback="".join(lines))
    log.finish(_LINES)
    os._exit(ExitCode.SOFTWARE)


def _farewell(settings: Settings, last: Exit, log: Log, hands: Hands | None) -> int:
    """Say why it ended, where people and programs look, and return the code."""
    fields = dict(last.fields)
    lost = log.dropped or None
    ended = {"reason": last.reason, "code": last.code, "at": format_instant(time.time()), **fields}
    ended["log_lines_dropped"] = log.dropped
    if hands is None:
        save_ended(Path(settings.state_dir), ended)
    else:
        hands.clerk.finish(ended, _FILES)
    if hands is not None and hands.access is not None:
        hands.access.finish(_LINES)
    level = "info" if last.code == ExitCode.OK else "error"
    log.say(
        "ended", level, reason=last.reason, code=int(last.code), log_lines_dropped=lost, **fields
    )
    log.finish(_LINES)
    return int(last.code)


def _layout(settings: Settings) -> str:
    return settings.log_format or ("console" if os.isatty(1) else "json")


def _served(settings: Settings) -> str:
    if settings.endpoints_file:
        return settings.endpoints_file
    return ",".join(settings.service_name) or ",".join(
        f"{site.host}:{site.port}" for site in settings.endpoints
    )
