"""
The behaviour of the program: what each event leads to.

Theory: an event first reaches the machine it is about (`lifetime`, `endpoint_set`, `rollout`,
`master`); `running` and `ending` hold the few rules that cross them.  Then whatever is due by now
is done, so that no order of events can delay anything: TimePassed does that and no more.
Nothing here touches the world or reads a clock; tests are lists of events.

The rules that cross the machines:
- nothing is sent to nginx before its generation has answered, but the signal to end;
- before the first answer, trouble ends the program (78, 69, 126, 127); after it, trouble is
  survived as long as anything can be served;
- after the deadline no code but 0 comes out of it;
- once the end has begun, only the end matters.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from supervisor.core import deadline, endpoint_set, lifecycle, stats
from supervisor.core.commands import Command, Exit, RequestJobStop, SaveState, exit_command, note
from supervisor.core.config.settings import Settings
from supervisor.core.deadline_record import ResolvedDeadline
from supervisor.core.durations import format_instant
from supervisor.core.endpoint_set import EndpointSet
from supervisor.core.errors import ExitCode
from supervisor.core.events import DeadlineRequested, Event, StopRequested
from supervisor.core.lifecycle import Lifetime, Phase
from supervisor.core.model import NEVER, CachedEndpoints
from supervisor.core.nginx_master import Master
from supervisor.core.policy import awaiting_job_stop, endpoints, requests, running, shutdown
from supervisor.core.policy.view import update_view
from supervisor.core.reload import Rollout
from supervisor.core.state import Decision, State
from supervisor.core.worker_generations import Generations

__all__ = ["State", "decide", "first_state", "load_cache"]


def first_state(
    settings: Settings, resolved: ResolvedDeadline, sources: Iterable[str], now: float
) -> Decision:
    """
    Make the first state and the first orders; past the deadline the order is to leave, with the job
    asked to stop once more where it should end with us.
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
    hint = (
        f"this is a restart past the deadline; remove {settings.state_dir}/state.json to start anew"
    )
    ended = replace(state, lifetime=lifecycle.enter(state.lifetime, Phase.ENDED))
    once_more = [RequestJobStop()] if settings.stops_job else []
    why = "deadline passed before this start"
    return ended, [*notes, *once_more, exit_command(ExitCode.OK, why, hint=hint)]


def load_cache(state: State, caches: Mapping[str, CachedEndpoints], now: float) -> Decision:
    """
    Begin with what an earlier process remembered, and say how old it is.
    """
    state = replace(state, endpoint_set=endpoint_set.restored(state.endpoint_set, caches, now))
    return state, [
        note(
            "discovery.restored",
            source=name,
            endpoints=len(cached.endpoints),
            answer_age=round(cached.age, 1),
            hint="served until the source answers",
        )
        for name, cached in sorted(caches.items())
    ]


def decide(state: State, event: Event, now: float) -> Decision:
    """
    Take in an event at an instant, and whatever else is due by then: the new state, the orders.
    """
    if state.lifetime.phase is Phase.ENDED:
        return state, []
    state, commands = _react(state, event, now)
    for due in (_deadline, requests.warn_before_deadline, running.perform_due, shutdown.advance):
        if not any(isinstance(command, Exit) for command in commands):
            state, more = due(state, now)
            commands = [*commands, *more]
    if any(isinstance(command, Exit) for command in commands):
        if state.lifetime.phase is Phase.ASKING:
            commands = awaiting_job_stop.force_exit_zero(commands)
        if state.lifetime.phase is not Phase.ENDED:
            state = replace(state, lifetime=lifecycle.enter(state.lifetime, Phase.ENDED))
        return state, commands
    for following in (endpoints.update_services, update_view):
        state, more = following(state, now)
        commands = [*commands, *more]
    written = stats.count(state.stats, commands, state.rollout.live, now)
    return replace(state, stats=written), commands


def _react(state: State, event: Event, now: float) -> Decision:
    if isinstance(event, DeadlineRequested | StopRequested):
        return requests.handle_request(state, event, now)
    react = shutdown.on_event_while_draining if state.lifetime.is_ending else running.on_event
    return react(state, event, now)


def _deadline(state: State, now: float) -> Decision:
    """Begin the end when the deadline has come, or the wait for Nomad to begin it."""
    if state.lifetime.phase is Phase.ASKING:
        return awaiting_job_stop.perform_due(state, now)
    if state.lifetime.is_ending or now < state.lifetime.deadline:
        return state, []
    if state.settings.stops_job:
        return awaiting_job_stop.request_job_stop(state, now)
    life = lifecycle.drain(state.lifetime, "deadline", state.settings.drain_timeout, now)
    return shutdown.start_shutdown(state, life)
