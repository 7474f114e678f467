"""
The `check` command: performs all steps of a start except serving.

It works in a folder of its own inside the one that a start would use, so it may run next to a
supervisor and needs no other writable place.
"""

import os
import queue
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from supervisor import discovery
from supervisor.core import balancing, endpoint_set, lifecycle, nginx_advice
from supervisor.core.balancing import BalancingSettings
from supervisor.core.config import load
from supervisor.core.config.settings import Settings
from supervisor.core.deadline_record import ResolvedDeadline
from supervisor.core.durations import format_instant
from supervisor.core.endpoint_set import EndpointSet
from supervisor.core.errors import ExitCode, Problem
from supervisor.core.events import DiscoveryFailed, Event, SnapshotArrived, SpawnFailed
from supervisor.core.model import Plan
from supervisor.nginx import host_limits
from supervisor.nginx.config_store import ConfigStore
from supervisor.nginx.operator_files import read_operator_files
from supervisor.nginx.process import Binary, Nginx, find_binary
from supervisor.nginx.render import RenderedConfig
from supervisor.nginx.templates import build_renderer
from supervisor.nomad.token import token_problem
from supervisor.system import process
from supervisor.system.network import local_addresses
from supervisor.system.runtime_dir import trial_folder
from supervisor.system.state_file import read_record

#: How long to wait for the first response of discovery, in seconds: longer than a request that
#: hangs, so that its reason is reported.
_DISCOVERY_TIMEOUT = 6.0

#: The exit code when a source of endpoints did not answer.
_NO_ANSWER = 1

#: The random part of socket names, short because the folder is one level deeper than a start's.
_RUN = "c"


def run(environ: Mapping[str, str], *, offline: bool = False) -> int:
    """
    Check settings, templates, operator files and discovery; print what would be served.

    With `offline` no source of endpoints is read.  Returns 0, or 1 when a source did not answer, or
    raises Problem with code 78, or ExecutableMissing.
    """
    settings = load.read(environ, os.path.exists, local_addresses())
    for variable, hint in load.hints(environ, settings):
        _warn(f"{variable}: {hint}")
    if settings.service_name and (problem := token_problem(settings)):
        _warn(problem)
    binary = find_binary(settings.nginx_binary)
    found, answers = _query(settings, offline=offline)
    record, error = read_record(Path(settings.state_dir))
    if error:
        _warn(error)
    deadline = lifecycle.resolve(settings, record, time.time())
    plan = _plan(settings, found, deadline)
    with trial_folder(environ) as folder:
        rendered = _test_files(settings, binary, folder, plan)
    version = ".".join(map(str, binary.version))
    listen = ", ".join(host_limits.listen_directives(settings.listen_address, settings.listen_port))
    print(f"nginx {version} accepts the configuration; it would listen on {listen}")
    print(_lifetime(deadline))
    if not offline:
        _print_endpoints(plan, answers, rendered)
    if offline or len(answers) == len(found.sources):
        return ExitCode.OK
    hint = "`check --offline` tests the files only"
    print(f"cannot find out what would be served: see the warnings; {hint}", file=sys.stderr)
    return _NO_ANSWER


def _query(settings: Settings, *, offline: bool) -> tuple[EndpointSet, dict[str, SnapshotArrived]]:
    """Query every source once; print a warning for each that does not answer."""
    inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
    sources = discovery.sources(settings, inbox.put, lambda _: None)
    names = [source.name for source in sources]
    found = EndpointSet.expecting(names, settings.max_endpoints, is_probing=False)
    answers: dict[str, SnapshotArrived] = {}
    if offline:
        return found, answers
    for source in sources:
        source.start()
    failed: set[str] = set()
    until = time.monotonic() + _DISCOVERY_TIMEOUT
    while missing := set(names) - answers.keys() - failed:
        try:
            event = inbox.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            for name in sorted(missing):
                _warn(f"{name}: no answer within {_DISCOVERY_TIMEOUT:g}s")
            break
        if isinstance(event, SnapshotArrived):
            found = endpoint_set.arrived(found, event, 0.0)
            if event.confirmed:  # an empty answer is confirmed by a second one
                answers[event.source] = event
        elif isinstance(event, DiscoveryFailed) and event.source in missing:
            failed.add(event.source)
            _warn(f"{event.source}: {event.reason}")
    return found, answers


def _plan(settings: Settings, found: EndpointSet, deadline: ResolvedDeadline) -> Plan:
    balancing_settings = BalancingSettings(
        settings.lb_method, settings.health_fail_open, deadline.record.end
    )
    balanced = balancing.balance(found, balancing_settings)
    for warning in balanced.warnings:
        _warn(warning)
    return balanced.plan


def _test_files(settings: Settings, binary: Binary, folder: Path, plan: Plan) -> RenderedConfig:
    """Render the configuration and let nginx test it.  Raises Problem."""
    config_store = ConfigStore(
        folder,
        build_renderer(settings, binary, folder, run=_RUN, workers=host_limits.worker_count()),
        partial(read_operator_files, Path(settings.operator_dir)),
    )
    children = process.Children()
    nginx = Nginx(binary, folder, children, lambda *_, **__: None, lambda _: None)
    try:
        rendered, _ = config_store.stage(1, plan, 0)
    except Exception as error:
        raise Problem(
            ExitCode.CONFIG, f"cannot stage the configuration: {error}; giving up"
        ) from error
    _test(nginx, children, config_store.path(1), settings)
    for warning in config_store.warnings(1):
        _warn(warning)
    return rendered


def _test(nginx: Nginx, children: process.Children, config: Path, settings: Settings) -> None:
    """Run `nginx -t`, and raise Problem if it refuses the configuration."""
    timeout = settings.start_timeout
    started = nginx.spawn_check(config, lambda _: None)
    if isinstance(started, SpawnFailed):
        raise Problem(ExitCode(started.code), f"{started.reason}; giving up")
    ended = process.await_exit(children, started.pid, timeout)
    if ended is None:
        reason = f"nginx -t did not exit within {timeout:g}s"
        raise Problem(ExitCode.UNAVAILABLE, f"cannot test the configuration: {reason}; giving up")
    if ended.code:
        reason = nginx.attach_output(ended).output or f"nginx -t exited with code {ended.code}"
        text = "; ".join(filter(None, (reason, nginx_advice.next_step(reason, settings))))
        raise Problem(ExitCode.CONFIG, f"cannot use the configuration: {text}; giving up")


def _lifetime(deadline: ResolvedDeadline) -> str:
    """Describe until when a start would serve."""
    end, origin = deadline.record.end, deadline.record.origin
    if deadline.remaining is None or end is None:
        return f"it would serve without a deadline ({origin})"
    if deadline.remaining <= 0:
        return f"it would exit at once: the deadline {format_instant(end)} has passed ({origin})"
    return f"it would serve until {format_instant(end)} ({origin})"


def _print_endpoints(
    plan: Plan, answers: Mapping[str, SnapshotArrived], rendered: RenderedConfig
) -> None:
    for name, answer in sorted(answers.items()):
        left_out = [
            f"{count} {meaning}"
            for count, meaning in (
                (answer.refused, "refused"),
                (answer.skipped, "skipped"),
                (answer.over_limit, "over MAX_ENDPOINTS"),
            )
            if count
        ]
        print(f"{name}: {', '.join([_endpoints(len(answer.endpoints)), *left_out])}")
    if plan.endpoints:
        count = _endpoints(len(plan.endpoints))
        print(f"it would serve {count}, not probed here; upstream.conf would be:\n")
        print(rendered.files["upstream.conf"].decode(), end="")
    else:
        print(f"it would serve no endpoint: clients would get 503 {plan.mode}")


def _endpoints(count: int) -> str:
    return f"{count} endpoint{'' if count == 1 else 's'}"


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
