"""
The `check` command: performs all steps of a start except serving.
"""

import os
import queue
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from supervisor import discovery
from supervisor.core import balancing, endpoint_set, lifecycle
from supervisor.core.balancing import BalancingSettings
from supervisor.core.config import load
from supervisor.core.config.settings import Settings
from supervisor.core.endpoint_set import EndpointSet
from supervisor.core.errors import ExitCode, Problem
from supervisor.core.events import DiscoveryFailed, Event, SnapshotArrived, SpawnFailed
from supervisor.core.model import Plan
from supervisor.nginx import host_limits
from supervisor.nginx.config_store import ConfigStore
from supervisor.nginx.internal_socket import new_run
from supervisor.nginx.operator_files import read_operator_files
from supervisor.nginx.process import Nginx, find_binary
from supervisor.nginx.templates import build_renderer
from supervisor.system import process
from supervisor.system.network import local_addresses

#: How long to wait for the first response of discovery, in seconds.
_DISCOVERY_TIMEOUT = 2.0


def run(environ: Mapping[str, str]) -> int:
    """
    Check settings, discovery, templates and operator files; print the resulting upstream.conf.

    Returns 0, or raises Problem with code 78, or ExecutableMissing.
    """
    settings = load.read(environ, os.path.exists, local_addresses())
    for given, meant in load.suspects(environ):
        print(f"warning: {given} is not a setting; did you mean {meant}?", file=sys.stderr)
    binary = find_binary(settings.nginx_binary)
    plan = _plan(settings)
    with tempfile.TemporaryDirectory(prefix="autoexit-nginx-check-") as name:
        folder = Path(name)
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        config_store = ConfigStore(
            folder,
            build_renderer(
                settings, binary, folder, run=new_run(), workers=host_limits.worker_count()
            ),
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
        _test(nginx, children, config_store.path(1), settings.start_timeout)
    version = ".".join(map(str, binary.version))
    listen = ", ".join(host_limits.listen_directives(settings.listen_address, settings.listen_port))
    print(f"nginx {version} accepts the configuration; it would listen on {listen}")
    endpoints = f"{len(plan.endpoints)} endpoints, not probed"
    print(f"mode {plan.mode}, {endpoints}; upstream.conf would be:\n")
    print(rendered.files["upstream.conf"].decode(), end="")
    return ExitCode.OK


def _plan(settings: Settings) -> Plan:
    """Query discovery once; a failure is only a warning."""
    inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
    sources = discovery.sources(settings, inbox.put, lambda _: None)
    names = [source.name for source in sources]
    endpoints = EndpointSet.expecting(names, settings.max_endpoints, is_probing=False)
    for source in sources:
        source.start()
    until = time.monotonic() + _DISCOVERY_TIMEOUT
    while not endpoints.tried_all and time.monotonic() < until:
        try:
            event = inbox.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        if isinstance(event, SnapshotArrived):
            for rejected in _rejected(event):
                print(f"warning: {event.source}: {rejected}", file=sys.stderr)
            endpoints = endpoint_set.arrived(endpoints, event, 0.0)
        elif isinstance(event, DiscoveryFailed):
            print(f"warning: {event.source}: {event.reason}", file=sys.stderr)
            break
    deadline = lifecycle.resolve(settings, None, time.time()).record.deadline
    balancing_settings = BalancingSettings(settings.lb_method, settings.health_fail_open, deadline)
    return balancing.balance(endpoints, balancing_settings).plan


def _rejected(snapshot: SnapshotArrived) -> Iterator[str]:
    """Yield what a source lists and is not used, by the fields of `endpoints.changed`."""
    if snapshot.refused:
        yield f"{snapshot.refused} refused: invalid, unresolvable or not allowed"
    if snapshot.over_limit:
        yield f"{snapshot.over_limit} ignored: more than MAX_ENDPOINTS"
    if snapshot.invalid_tags:
        yield f"{snapshot.invalid_tags} tags ignored: invalid"


def _test(nginx: Nginx, children: process.Children, config: Path, timeout: float) -> None:
    """Run `nginx -t`, and raise Problem if it refuses the configuration."""
    started = nginx.spawn_check(config, lambda _: None)
    if isinstance(started, SpawnFailed):
        raise Problem(ExitCode(started.code), f"{started.reason}; giving up")
    ended = process.await_exit(children, started.pid, timeout)
    if ended is None:
        reason = f"nginx -t did not exit within {timeout:g}s"
        raise Problem(ExitCode.UNAVAILABLE, f"cannot test the configuration: {reason}; giving up")
    if ended.code:
        reason = nginx.attach_output(ended).output or f"nginx -t exited with code {ended.code}"
        raise Problem(ExitCode.CONFIG, f"cannot use the configuration: {reason}; giving up")
