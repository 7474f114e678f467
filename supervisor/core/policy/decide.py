"""
The behaviour of the program: what each event leads to.

Theory: an event first reaches the machine it is about (`lifetime`, `targets`, `rollout`,
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
from supervisor.core.commands import AskJobStop, Exit, Order, SaveState, leave, note
from supervisor.core.config.settings import Settings
from supervisor.core.deadline_record import Anchor
from supervisor.core.durations import format_instant
from supervisor.core.endpoint_set import Targets
from supervisor.core.errors import ExitCode
from supervisor.core.events import DeadlineMoved, Event, StopAsked
from supervisor.core.lifecycle import Lifetime, Phase
from supervisor.core.model import NEVER, Memory
from supervisor.core.nginx_master import Master
from supervisor.core.policy import awaiting_job_stop, endpoints, requests, running, shutdown
from supervisor.core.policy.view import shown
from supervisor.core.reload import Rollout
from supervisor.core.state import Decision, State
from supervisor.core.worker_generations import Generations

__all__ = ["State", "begin", "decide", "recall"]


def begin(settings: Settings, anchor: Anchor, sources: Iterable[str], now: float) -> Decision:
    """
    Make the first state and the first orders; past the deadline the order is to leave, with the job
    asked to stop once more where it should end with us.
    """
    record, remaining = anchor.record, anchor.remaining
    epoch = record.end
    state = State(
        settings,
        Lifetime(deadline=NEVER if remaining is None else now + remaining),
        Targets.expecting(
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
    said: list[Order] = [
        note(
            "deadline.set",
            deadline=None if epoch is None else format_instant(epoch),
            origin=record.origin,
            remaining=None if remaining is None else round(remaining, 3),
        )
    ]
    if anchor.remark:
        said.insert(0, note("deadline.anchored", "warning", remark=anchor.remark))
    if remaining is None or remaining > 0:
        return state, [*said, SaveState(record)]
    hint = (
        f"this is a restart past the deadline; remove {settings.state_dir}/state.json to start anew"
    )
    ended = replace(state, lifetime=lifecycle.enter(state.lifetime, Phase.ENDED))
    once_more = [AskJobStop()] if settings.stops_job else []
    why = "deadline passed before this start"
    return ended, [*said, *once_more, leave(ExitCode.OK, why, hint=hint)]


def recall(state: State, memories: Mapping[str, Memory], now: float) -> Decision:
    """
    Begin with what an earlier process remembered, and say how old it is.
    """
    state = replace(state, targets=endpoint_set.recalled(state.targets, memories, now))
    return state, [
        note(
            "discovery.remembered",
            source=name,
            endpoints=len(memory.endpoints),
            knowledge_age=round(memory.age, 1),
            hint="served until the source answers",
        )
        for name, memory in sorted(memories.items())
    ]


def decide(state: State, event: Event, now: float) -> Decision:
    """
    Take in an event at an instant, and whatever else is due by then: the new state, the orders.
    """
    if state.lifetime.phase is Phase.ENDED:
        return state, []
    state, orders = _react(state, event, now)
    for due in (_deadline, requests.warn, running.keep_up, shutdown.climb):
        if not any(isinstance(order, Exit) for order in orders):
            state, more = due(state, now)
            orders = [*orders, *more]
    if any(isinstance(order, Exit) for order in orders):
        if state.lifetime.phase is Phase.ASKING:
            orders = awaiting_job_stop.excused(orders)
        if state.lifetime.phase is not Phase.ENDED:
            state = replace(state, lifetime=lifecycle.enter(state.lifetime, Phase.ENDED))
        return state, orders
    for following in (endpoints.followed, shown):
        state, more = following(state, now)
        orders = [*orders, *more]
    written = stats.entered(state.ledger, orders, state.rollout.live, now)
    return replace(state, ledger=written), orders


def _react(state: State, event: Event, now: float) -> Decision:
    if isinstance(event, DeadlineMoved | StopAsked):
        return requests.react(state, event, now)
    react = shutdown.react if state.lifetime.is_ending else running.react
    return react(state, event, now)


def _deadline(state: State, now: float) -> Decision:
    """Begin the end when the deadline has come, or the wait for Nomad to begin it."""
    if state.lifetime.phase is Phase.ASKING:
        return awaiting_job_stop.keep_up(state, now)
    if state.lifetime.is_ending or now < state.lifetime.deadline:
        return state, []
    if state.settings.stops_job:
        return awaiting_job_stop.begin(state, now)
    life = lifecycle.drain(state.lifetime, "deadline", state.settings.drain_timeout, now)
    return shutdown.begin(state, life)
