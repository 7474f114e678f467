"""
Rules while the service runs: which rule handles each event, and the actions that become due.
"""

import signal
from dataclasses import replace
from typing import assert_never

from supervisor.core import lifecycle, log_ids, reload, reload_attempt
from supervisor.core.commands import Kill, Requery, note
from supervisor.core.durations import format_span
from supervisor.core.events import (
    ChildExited,
    ConnectionsCounted,
    DiscoveryFailed,
    EndpointsSuspected,
    FilesChecked,
    GenerationReported,
    HealthChanged,
    JobStopAnswered,
    JobVariableFailed,
    JobVariableRead,
    OrphansFound,
    PortBusy,
    ProbesFellBack,
    ProbesReported,
    ProtocolRefused,
    ServicesListed,
    SignalArrived,
    SnapshotArrived,
    Spawned,
    SpawnFailed,
    Staged,
    StageFailed,
    StateSaved,
    SwapFailed,
    Swapped,
    SystemEvent,
    TimePassed,
    UseObserved,
    WorkerDied,
    WorkersCounted,
    WorkersSignalled,
    WriteOverdue,
    WriteResumed,
)
from supervisor.core.model import NEVER
from supervisor.core.nginx_master import MasterState
from supervisor.core.policy import (
    awaiting_job_stop,
    children,
    empty_sources,
    endpoints,
    idle_end,
    job_moves,
    reasons,
    refused_protocols,
    reload_steps,
    requests,
    shutdown,
    worker_limit,
)
from supervisor.core.policy.view import status_line
from supervisor.core.signal_sets import STOP_SIGNALS
from supervisor.core.state import Decision, State


def on_event(state: State, event: SystemEvent, now: float) -> Decision:
    """
    Handle an event while the service runs.
    """
    match event:
        case SnapshotArrived() | DiscoveryFailed() | HealthChanged() | ProbesFellBack():
            return endpoints.on_discovery_event(state, event, now)
        case ProbesReported():
            return reasons.on_probes_reported(state, event)
        case ServicesListed():
            return empty_sources.on_services_listed(state, event)
        case EndpointsSuspected(suspects):
            return endpoints.on_suspicion(state, suspects)
        case SignalArrived(signum):
            return _on_signal(state, signum, now)
        case Spawned() | SpawnFailed() | PortBusy() | ChildExited() | OrphansFound():
            return children.on_child_event(state, event, now)
        case Staged() | StageFailed() | Swapped() | SwapFailed():
            return reload_steps.on_files(state, event, now)
        case GenerationReported():
            return reload_steps.on_generation(state, event, now)
        case FilesChecked():
            return reload_steps.on_files_checked(state, event)
        case WorkersCounted() | WorkersSignalled():
            return worker_limit.on_worker_event(state, event, now)
        case JobStopAnswered():
            return awaiting_job_stop.on_answer(state, event, now)
        case JobVariableRead():
            return job_moves.on_read(state, event, now)
        case JobVariableFailed():
            return job_moves.on_failed(state, event, now)
        case WorkerDied(output):
            return state, [note(log_ids.WORKER_DIED, "error", message=output)]
        case ProtocolRefused(protocol, client):
            return state, [refused_protocols.report(protocol, client)]
        case UseObserved():
            return idle_end.on_use_observed(state, event, now)
        case StateSaved():
            return requests.on_state_saved(state, event)
        case WriteOverdue() | WriteResumed():
            return requests.on_disk_event(state, event)
        case TimePassed() | ConnectionsCounted():
            return state, []
        case _:
            assert_never(event)


def perform_due(state: State, now: float) -> Decision:
    """
    Perform the actions that are due while the service runs.
    """
    if state.lifetime.is_ending:
        return state, []
    state, commands = reasons.perform_due(state, now)
    for perform in (empty_sources.perform_due, endpoints.perform_due):
        state, more = perform(state, now)
        commands = [*commands, *more]
    if now >= state.master.boot_by:
        why = f"nginx did not respond within {format_span(state.settings.start_timeout)}"
        given_up = replace(state.master, boot_by=NEVER, give_up_reason=why)
        kill = Kill(state.master.pid, signal.SIGKILL, group=True)
        return replace(state, master=given_up), [*commands, kill]
    if now >= state.master.respawn_at:
        state = replace(state, master=replace(state.master, respawn_at=NEVER))
        state, more = reload_steps.with_rollout(state, reload_attempt.revive(state.rollout, now))
        return state, [*commands, *more]
    if now >= state.master.look_again_at:
        state, more = children.spawn_when_free(state, now)
        return state, [*commands, *more]
    if now >= state.rollout.give_up_at:
        state, more = reload_steps.give_up(state, now)
        return state, [*commands, *more]
    if now >= reload.ready_at(state.rollout):
        limit = reload_steps.disk_limit(state, now)
        state, more = reload_steps.with_rollout(
            state, reload_attempt.apply(state.rollout, give_up_at=limit)
        )
        commands = [*commands, *more]
    if now >= state.unresponsive_at and state.rollout.public_port_answers:
        line = note("nginx.socket_silent", "warning", hint="clients are served; reloading nginx")
        state = replace(state, rollout=replace(state.rollout, relisten=True))
        commands = [*commands, line]
    elif now >= state.unresponsive_at:
        line = note("nginx.unresponsive", "error", hint="reloading the last good files")
        state, more = reload_steps.with_rollout(state, reload_attempt.revive(state.rollout, now))
        return state, [*commands, line, *more]
    if now >= state.rollout_at:
        state, more = worker_limit.start_reload(state, now)
        commands = [*commands, *more]
    return state, commands


def _on_signal(state: State, signum: int, now: float) -> Decision:
    if signum in STOP_SIGNALS:
        return shutdown.start_shutdown(
            state, lifecycle.stop_requested(state.lifetime, state.settings.stop_timeout, now)
        )
    if signum == signal.SIGHUP:
        state = replace(state, rollout=reload.request_reread(state.rollout, now))
        return state, [Requery(), note("config.rereading", signal="SIGHUP")]
    if signum == signal.SIGUSR1 and state.master.health is MasterState.UP:
        return state, [Kill(state.master.pid, signal.SIGUSR1), note("nginx.logs_reopened")]
    if signum == signal.SIGUSR2:
        return state, [status_line(state, now)]
    return state, []
