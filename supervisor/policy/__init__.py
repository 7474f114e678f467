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

from supervisor import deadline, ledger, lifetime, targets
from supervisor.anchor import Anchor
from supervisor.durations import format_instant
from supervisor.errors import ExitCode
from supervisor.events import DeadlineMoved, Event, StopAsked
from supervisor.generations import Generations
from supervisor.lifetime import Lifetime, Phase
from supervisor.master import Master
from supervisor.model import NEVER, Memory
from supervisor.orders import AskJobStop, Exit, Order, SaveState, leave, note
from supervisor.policy import asking, discovered, ending, running, wishes
from supervisor.policy.asking import heard_late
from supervisor.policy.shown import shown
from supervisor.policy.state import Decision, State
from supervisor.rollout import Rollout
from supervisor.settings import Settings
from supervisor.targets import Targets

__all__ = ["State", "begin", "decide", "heard_late", "recall"]


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
    ended = replace(state, lifetime=lifetime.enter(state.lifetime, Phase.ENDED))
    once_more = [AskJobStop()] if settings.stops_job else []
    why = "deadline passed before this start"
    return ended, [*said, *once_more, leave(ExitCode.OK, why, hint=hint)]


def recall(state: State, memories: Mapping[str, Memory], now: float) -> Decision:
    """
    Begin with what an earlier process remembered, and say how old it is.
    """
    state = replace(state, targets=targets.recalled(state.targets, memories, now))
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
    for due in (_deadline, wishes.warn, running.keep_up, ending.climb):
        if not any(isinstance(order, Exit) for order in orders):
            state, more = due(state, now)
            orders = [*orders, *more]
    if any(isinstance(order, Exit) for order in orders):
        if state.lifetime.phase is Phase.ASKING:
            orders = asking.excused(orders)
        if state.lifetime.phase is not Phase.ENDED:
            state = replace(state, lifetime=lifetime.enter(state.lifetime, Phase.ENDED))
        return state, orders
    for following in (discovered.followed, shown):
        state, more = following(state, now)
        orders = [*orders, *more]
    written = ledger.entered(state.ledger, orders, state.rollout.live, now)
    return replace(state, ledger=written), orders


def _react(state: State, event: Event, now: float) -> Decision:
    if isinstance(event, DeadlineMoved | StopAsked):
        return wishes.react(state, event, now)
    react = ending.react if state.lifetime.is_ending else running.react
    return react(state, event, now)


def _deadline(state: State, now: float) -> Decision:
    """Begin the end when the deadline has come, or the wait for Nomad to begin it."""
    if state.lifetime.phase is Phase.ASKING:
        return asking.keep_up(state, now)
    if state.lifetime.is_ending or now < state.lifetime.deadline:
        return state, []
    if state.settings.stops_job:
        return asking.begin(state, now)
    life = lifetime.drain(state.lifetime, "deadline", state.settings.drain_timeout, now)
    return ending.begin(state, life)
