"""
The entry point of the policy: state and event in, new state and commands out.

Each event goes first to the state machine it concerns (`lifecycle`, `endpoint_set`, `reload`,
`nginx_master`); `running` and `shutdown` hold the few rules that span several.  Then every action
that is due is performed, whatever the event was, so no order of events can delay an action;
TimePassed triggers only this.  No function here performs I/O or reads a clock.

Rules that span the state machines:
- nginx receives no signal except stop signals before its generation has answered;
- before the first answer, an error ends the program (78, 69, 126, 127); after it, the program keeps
  running as long as it can serve;
- after the deadline the exit code is always 0;
- once shutdown has begun, only shutdown events have an effect.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from supervisor.core import deadline, endpoint_set, lifecycle, reload_attempt, stats
from supervisor.core.commands import Command, Exit, RequestJobStop, SaveState, exit_command, note
from supervisor.core.config.settings import Settings
from supervisor.core.deadline_record import ResolvedDeadline, passed
from supervisor.core.durations import format_instant
from supervisor.core.endpoint_set import EndpointSet
from supervisor.core.errors import ExitCode
from supervisor.core.events import DeadlineRequested, Event, JobVariableWritten, StopRequested
from supervisor.core.lifecycle import Lifetime, Phase
from supervisor.core.model import NEVER, CachedEndpoints
from supervisor.core.nginx_master import Master
from supervisor.core.policy import (
    awaiting_job_stop,
    endpoints,
    job_moves,
    requests,
    running,
    shutdown,
)
from supervisor.core.policy.view import update_view
from supervisor.core.reload import Rollout
from supervisor.core.state import Decision, State
from supervisor.core.worker_generations import Generations

__all__ = ["State", "decide", "first_state", "load_cache"]


def first_state(
    settings: Settings, resolved: ResolvedDeadline, sources: Iterable[str], now: float
) -> Decision:
    """
    Build the first state and commands.  Past the deadline these are Exit, preceded by one more
    RequestJobStop with AT_DEADLINE=stop-job.
    """
    record, remaining = resolved.record, resolved.remaining
    epoch = record.end
    state = State(
        settings,
        Lifetime(deadline=NEVER if remaining is None else now + remaining),
        EndpointSet.expecting(
            sources, settings.max_endpoints, is_probing=settings.health_check != "off"
        ),
        Rollout(quiet=settings.reload_quiet, interval=settings.reload_interval, tokens_at=now),
        Master(),
        Generations(settings.max_draining),
        record,
        started_at=now,
        warns_before=0.0
        if remaining is None
        else deadline.next_warning(settings.warn_at, remaining),
    )
    notes: list[Command] = [
        note(
            "deadline.set",
            deadline=None if epoch is None else format_instant(epoch),
            origin=record.origin,
            remaining=None if remaining is None else round(remaining, 3),
        )
    ]
    if resolved.warning:
        notes.insert(0, note("deadline.anchored", "warning", reason=resolved.warning))
    if remaining is None or remaining > 0:
        return state, [*notes, SaveState(record)]
    why, hint = passed(record, settings.state_dir)
    ended = replace(state, lifetime=lifecycle.enter(state.lifetime, Phase.ENDED))
    job_stop = [RequestJobStop()] if settings.stops_job else []
    return ended, [*notes, *job_stop, exit_command(ExitCode.OK, why, hint=hint)]


def load_cache(state: State, caches: Mapping[str, CachedEndpoints], now: float) -> Decision:
    """
    Load the endpoints that an earlier process cached, and log their age.
    """
    state = replace(state, endpoint_set=endpoint_set.restored(state.endpoint_set, caches, now))
    return state, [
        note(
            "discovery.restored",
            source=name,
            endpoints=len(cached.endpoints),
            answer_age=round(cached.age, 1),
            hint="served until the source responds",
        )
        for name, cached in sorted(caches.items())
    ]


def decide(state: State, event: Event, now: float) -> Decision:
    """
    Handle an event and every action due at `now`; return the new state and the commands.
    """
    if state.lifetime.phase is Phase.ENDED:
        return state, []
    before = state.rollout
    state, commands = _dispatch(state, event, now)
    for due in (
        job_moves.perform_due,
        _check_deadline,
        requests.warn_before_deadline,
        running.perform_due,
        shutdown.advance,
    ):
        if not any(isinstance(command, Exit) for command in commands):
            state, more = due(state, now)
            commands = [*commands, *more]
    if any(isinstance(command, Exit) for command in commands):
        if state.lifetime.phase is Phase.ASKING:
            commands = awaiting_job_stop.force_exit_zero(commands, state.lifetime.ladder.reason)
        if state.lifetime.phase is not Phase.ENDED:
            state = replace(state, lifetime=lifecycle.enter(state.lifetime, Phase.ENDED))
        return state, commands
    commands = [*commands, *reload_attempt.trace(before, state.rollout, now)]
    for update in (endpoints.update_services, update_view):
        state, more = update(state, now)
        commands = [*commands, *more]
    counted = stats.count(state.stats, commands, state.rollout.live, now)
    return replace(state, stats=counted), commands


def _dispatch(state: State, event: Event, now: float) -> Decision:
    if isinstance(event, DeadlineRequested | StopRequested):
        return requests.handle_request(state, event, now)
    if isinstance(event, JobVariableWritten):  # it answers a request in every phase
        return job_moves.on_written(state, event, now)
    handler = shutdown.on_event_while_draining if state.lifetime.is_ending else running.on_event
    return handler(state, event, now)


def _check_deadline(state: State, now: float) -> Decision:
    """Begin shutdown, or the wait for Nomad's stop signal, once the deadline has passed."""
    if state.lifetime.phase is Phase.ASKING:
        return awaiting_job_stop.perform_due(state, now)
    if state.lifetime.is_ending or now < state.lifetime.deadline:
        return state, []
    if job_moves.is_awaited(state, now):
        return state, []
    if state.settings.stops_job:
        return awaiting_job_stop.request_job_stop(state, now)
    life = lifecycle.drain(state.lifetime, "deadline", state.settings.drain_timeout, now)
    return shutdown.start_shutdown(state, life)
