"""
The rules of what is known: answers, silences and health become the plan that is wanted.

Before the first start the plan waits for the first answer and the first verdicts, START_WAIT at
most; later a change waits for the first verdict on new endpoints, and never longer than that.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from supervisor.core import balancing, endpoint_set, log_ids, reload
from supervisor.core.balancing import Terms
from supervisor.core.commands import Order, Remember, Watch, note
from supervisor.core.events import DiscoveryFailed, HealthSeen, ProbesFellBack, SnapshotArrived
from supervisor.core.model import ONCE_READY, Condition, Endpoint, Memory
from supervisor.core.state import Decision, State

#: What is remembered for a restart says how old it is; that is kept true to so many seconds.
_MEMORY = 30.0

#: So many endpoints are named in a log line, the others counted.
_NAMED = 5


def react(
    state: State,
    event: SnapshotArrived | DiscoveryFailed | HealthSeen | ProbesFellBack,
    now: float,
) -> Decision:
    """
    Take in what a source or a probe says.
    """
    match event:
        case SnapshotArrived():
            return _heard(state, event, now)
        case DiscoveryFailed():
            return _not_heard(state, event, now)
        case HealthSeen():
            after = endpoint_set.seen(state.targets, event, now)
            said = _health(state.targets, after, event)
            return offered(replace(state, targets=after), now, said)
        case ProbesFellBack(reason, hint):
            return state, [note("probes.fell_back", "warning", reason=reason, hint=hint)]
        case _:
            assert_never(event)


def keep_up(state: State, now: float) -> Decision:
    """
    Do what is due about the plan without any event.
    """
    orders: list[Order] = []
    lame = now >= state.lame_at
    if lame:
        state = replace(state, is_lame=True)
        left = round(state.lifetime.deadline - now, 3)
        orders.append(note("lame_duck", remaining=left, hint="not ready any more, still serving"))
    if lame or state.rollout.wanted is None or now >= state.targets.due_at:
        state = replace(state, targets=endpoint_set.elapsed(state.targets, now))
        return offered(state, now, orders)
    return state, orders


def offered(state: State, now: float, orders: list[Order]) -> Decision:
    """
    Want what is known by now, unless it is too early to tell.
    """
    if state.rollout.wanted is None:
        known = state.targets.tried_all and state.targets.is_judged
        if not known and now < state.started_at + state.settings.start_wait:
            return state, orders
    elif endpoint_set.is_holding(state.targets, now):
        return state, orders
    chosen = balancing.choose(state.targets, _terms(state))
    orders += [
        note("endpoints.remark", "warning", remark=remark)
        for remark in chosen.remarks
        if remark not in state.remarks
    ]
    state = replace(
        state,
        targets=endpoint_set.settled(state.targets),
        rollout=reload.offer(state.rollout, chosen.plan, now),
        remarks=chosen.remarks,
    )
    return state, orders


def followed(state: State, now: float) -> Decision:
    """
    Bring the probes and the memory for a restart in step with the state.
    """
    orders: list[Order] = []
    if state.targets.is_probing:
        known = state.targets
        wish = Watch(known.watched, frozenset(known.leaving), known.allocations, known.proven)
        if state.lifetime.is_ending:
            wish = Watch(frozenset())
        if wish != state.watch:
            state = replace(state, watch=wish)
            orders.append(wish)
    live = state.rollout.live
    if live is None or state.lifetime.is_ending:
        return state, orders
    is_due = live.generation != state.remembered or now >= state.remembered_at + _MEMORY
    memories = _memories(state, now) if is_due else {}
    if memories:
        orders.append(Remember(memories))
        state = replace(state, remembered=live.generation, remembered_at=now)
    return state, orders


# ------------------------------------------------------------------------------- the sources


def _heard(state: State, event: SnapshotArrived, now: float) -> Decision:
    before = state.targets.sources[event.source]
    said: list[Order] = []
    if before.failing_since is not None:
        away = round(now - before.failing_since, 2)
        said.append(note("discovery.recovered", source=event.source, after=away))
    if not event.certain:
        said.append(note("discovery.empty_once", source=event.source, hint="asking again"))
    elif (before.endpoints, before.shares) != (event.endpoints, event.shares):
        said.append(_changed(event, before.endpoints or ()))
    if len(event.jobs) > 1 and event.source not in state.several_jobs:
        state = replace(state, several_jobs=state.several_jobs | {event.source})
        hint = "all are served; set SERVICE_JOB to one of them, or to self"
        said.append(
            note(
                "service.several_jobs",
                "warning",
                source=event.source,
                jobs=list(event.jobs),
                hint=hint,
            )
        )
    state = replace(state, targets=endpoint_set.arrived(state.targets, event, now))
    return offered(state, now, said)


def _changed(event: SnapshotArrived, before: tuple[Endpoint, ...]) -> Order:
    old, new = frozenset(before), frozenset(event.endpoints)
    return note(
        "endpoints.changed",
        "warning" if event.refused or event.beyond or event.odd_tags else "info",
        source=event.source,
        endpoints=len(new),
        added=len(new - old),
        removed=len(old - new),
        refused=event.refused,
        beyond_limit=event.beyond,
        passed_over=event.passed_over,
        odd_tags=event.odd_tags,
    )


def _not_heard(state: State, event: DiscoveryFailed, now: float) -> Decision:
    source = state.targets.sources[event.source]
    said = note(
        log_ids.DISCOVERY_FAILED,
        "warning" if source.failing_since is None else "debug",
        source=event.source,
        reason=event.reason,
        keeping=len(source.endpoints or ()),
        knowledge_age=None if source.heard_at is None else round(now - source.heard_at, 1),
        retry_in=round(event.retry_in, 2),
    )
    state = replace(state, targets=endpoint_set.failed(state.targets, event, now))
    return offered(state, now, [said])


# ---------------------------------------------------------------------- health, plan, memory


def _health(
    before: endpoint_set.Targets, after: endpoint_set.Targets, event: HealthSeen
) -> list[Order]:
    """Say who became ready and who was lost; the first failure of a newcomer is no news."""
    changed = {
        each: after.conditions[each]
        for each in event.conditions
        if each in after.conditions and after.conditions[each] is not before.conditions.get(each)
    }
    ready = [each for each in changed if changed[each] is Condition.READY]
    lost = [each for each in changed if before.conditions.get(each) is Condition.READY]
    if not ready and not lost:
        return []
    counts = dict.fromkeys(Condition, 0)
    for condition in after.conditions.values():
        counts[condition] += 1
    counts[Condition.UNKNOWN] += len(after.watched) - len(after.conditions)
    return [
        note(
            "health.changed",
            "warning" if lost else "info",
            became_ready=_named(ready),
            lost=_named(lost),
            **{condition.value: count for condition, count in counts.items() if count},
        )
    ]


def _named(endpoints: Iterable[Endpoint]) -> list[str]:
    ordered = sorted(endpoints)
    more = [f"and {len(ordered) - _NAMED} more"] if len(ordered) > _NAMED else []
    return [*map(str, ordered[:_NAMED]), *more]


def _terms(state: State) -> Terms:
    settings = state.settings
    return Terms(settings.lb_method, settings.health_fail_open, state.deadline_epoch, state.is_lame)


def _memories(state: State, now: float) -> dict[str, Memory]:
    known = state.targets
    proven = frozenset(
        endpoint for endpoint, condition in known.conditions.items() if condition in ONCE_READY
    )
    return {
        name: Memory(
            source.endpoints,
            source.shares,
            proven.intersection(source.endpoints),
            now - source.heard_at,
        )
        for name, source in known.sources.items()
        if source.endpoints is not None and source.heard_at is not None
    }
