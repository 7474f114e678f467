"""
The check: everything a start would do, short of answering on the port.
"""

import os
import queue
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from supervisor.core import balancing, endpoint_set, lifecycle
from supervisor.core.balancing import BalancingSettings
from supervisor.core.config import load as table
from supervisor.core.config.settings import Settings
from supervisor.core.endpoint_set import EndpointSet
from supervisor.core.errors import ExitCode, Problem
from supervisor.core.events import DiscoveryFailed, Event, SnapshotArrived, SpawnFailed
from supervisor.core.model import Plan
from supervisor.discovery import sources
from supervisor.nginx import host_limits
from supervisor.nginx.config_store import ConfigStore
from supervisor.nginx.operator_files import read_operator_files
from supervisor.nginx.process import Nginx, find_binary
from supervisor.nginx.templates import build_renderer
from supervisor.system import process
from supervisor.system.network import local_addresses

#: How long to wait for the first answer of discovery, in seconds: nobody is kept waiting by it.
_DISCOVERY_TIMEOUT = 2.0


def run(environ: Mapping[str, str]) -> int:
    """
    Check settings, discovery, templates and operator's files; print what would be served.

    Returns 0, or raises Problem with code 78, or ExecutableMissing.
    """
    settings = table.read(environ, os.path.exists, local_addresses())
    for given, meant in table.suspects(environ):
        print(f"warning: {given} is not a setting; did you mean {meant}?", file=sys.stderr)
    binary = find_binary(settings.nginx_binary)
    plan = _plan(settings)
    with tempfile.TemporaryDirectory(prefix="autoexit-nginx-check-") as name:
        folder = Path(name)
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        configs = ConfigStore(
            folder,
            build_renderer(settings, binary, folder),
            partial(read_operator_files, Path(settings.operator_dir)),
        )
        children = process.Children()
        nginx = Nginx(binary, folder, children, lambda *_, **__: None, lambda _: None)
        try:
            bundle, _ = configs.stage(1, plan, 0)
        except Exception as error:
            raise Problem(
                ExitCode.CONFIG, f"cannot stage the configuration: {error}; giving up"
            ) from error
        _test(nginx, children, configs.path(1), settings.start_timeout)
    version = ".".join(map(str, binary.version))
    listen = ", ".join(host_limits.listen_directives(settings.listen_address, settings.listen_port))
    print(f"nginx {version} accepts the configuration; it would listen on {listen}")
    listed = f"{len(plan.endpoints)} endpoints, not probed here"
    print(f"mode {plan.mode}, {listed}; upstream.conf would be:\n")
    print(bundle.files["upstream.conf"].decode(), end="")
    return ExitCode.OK


def _plan(settings: Settings) -> Plan:
    """Ask discovery once; silence is worth a warning and no more."""
    inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
    following = sources(settings, inbox.put, lambda _: None)
    names = [source.name for source in following]
    known = EndpointSet.expecting(names, settings.max_endpoints, is_probing=False)
    for source in following:
        source.start()
    until = time.monotonic() + _DISCOVERY_TIMEOUT
    while not known.tried_all and time.monotonic() < until:
        try:
            event = inbox.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        if isinstance(event, SnapshotArrived):
            known = endpoint_set.arrived(known, event, 0.0)
        elif isinstance(event, DiscoveryFailed):
            print(f"warning: {event.source}: {event.reason}", file=sys.stderr)
            break
    end = lifecycle.resolve(settings, None, time.time()).record.deadline
    terms = BalancingSettings(settings.lb_method, settings.health_fail_open, end)
    return balancing.balance(known, terms).plan


def _test(nginx: Nginx, children: process.Children, config: Path, patience: float) -> None:
    """Run `nginx -t`, and raise Problem when it does not like what it reads."""
    started = nginx.spawn_check(config, lambda _: None)
    if isinstance(started, SpawnFailed):
        raise Problem(ExitCode(started.code), f"{started.reason}; giving up")
    ended = process.await_exit(children, started.pid, patience)
    if ended is None:
        trouble = f"nginx -t hangs (over {patience:g} s)"
        raise Problem(ExitCode.UNAVAILABLE, f"cannot test the configuration: {trouble}; giving up")
    if ended.code:
        trouble = nginx.attach_output(ended).output or f"nginx -t ended with {ended.code}"
        raise Problem(ExitCode.CONFIG, f"cannot use the configuration: {trouble}; giving up")
