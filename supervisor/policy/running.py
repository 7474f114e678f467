"""
The rules while the service runs: what events mean, and what is due without any.
"""

import signal
from dataclasses import replace
from typing import assert_never

from supervisor import attempt, lifetime, rollout, targets
from supervisor.durations import format_span
from supervisor.events import (
    ChildExited,
    ConnectionsCounted,
    DiscoveryFailed,
    Event,
    GenerationSeen,
    HealthSeen,
    OrphansFound,
    ProbesFellBack,
    SignalArrived,
    SnapshotArrived,
    Spawned,
    SpawnFailed,
    Staged,
    StageFailed,
    StateSaved,
    SwapFailed,
    Swapped,
    TimePassed,
)
from supervisor.master import Health
from supervisor.model import NEVER
from supervisor.orders import Kill, Order, Requery, note
from supervisor.policy import attempts, children, ending
from supervisor.policy.shown import status
from supervisor.policy.state import Decision, State


def react(state: State, event: Event, now: float) -> Decision:
    """
    Take in an event while the service runs.
    """
    match event:
        case SnapshotArrived():
            return _heard(state, event, now)
        case DiscoveryFailed():
            return _not_heard(state, event, now)
        case SignalArrived(signum):
            return _signalled(state, signum, now)
        case Spawned() | SpawnFailed() | ChildExited() | OrphansFound():
            return children.react(state, event, now)
        case Staged() | StageFailed() | Swapped() | SwapFailed():
            return attempts.filed(state, event, now)
        case GenerationSeen(generation):
            return attempts.seen(state, generation, now)
        case StateSaved(trouble):
            hint = "the deadline will count anew after a restart"
            return state, [
                note("state.not_saved", "warning", reason=trouble, hint=hint)
            ] if trouble else []
        case HealthSeen() | ProbesFellBack() | TimePassed() | ConnectionsCounted():
            return state, []
        case _:
            assert_never(event)


def keep_up(state: State, now: float) -> Decision:
    """
    Do what is due while the service runs.
    """
    if state.lifetime.is_ending:
        return state, []
    orders: list[Order] = []
    if state.rollout.wanted is None:
        state = _offered(state, now)
    if now >= state.master.boot_by:
        why = f"nginx did not answer within {format_span(state.settings.start_timeout)}"
        doomed = replace(state.master, boot_by=NEVER, given_up=why)
        return replace(state, master=doomed), [Kill(state.master.pid, signal.SIGKILL, group=True)]
    if now >= state.master.respawn_at:
        state = replace(state, master=replace(state.master, respawn_at=NEVER))
        return attempts.rolled(state, attempt.revive(state.rollout, now))
    if now >= state.rollout.give_up_at:
        return attempts.overdue(state, now)
    if now >= rollout.ready_at(state.rollout):
        state, orders = attempts.rolled(state, attempt.apply(state.rollout))
    if now >= state.dark_at:
        said = note("nginx.dark", "error", hint="reloading the last good files")
        state, orders = attempts.rolled(state, attempt.revive(state.rollout, now))
        return state, [said, *orders]
    if now >= state.rollout_at:
        state, more = attempts.rolled(state, attempt.begin(state.rollout, now))
        orders = [*orders, *more]
    return state, orders


# -------------------------------------------------------------------- discovery and signals


def _heard(state: State, event: SnapshotArrived, now: float) -> Decision:
    before = state.targets.sources[event.source]
    said: list[Order] = []
    if before.failing_since is not None:
        away = round(now - before.failing_since, 2)
        said.append(note("discovery.recovered", source=event.source, after=away))
    if not event.certain:
        said.append(note("discovery.empty_once", source=event.source, hint="asking again"))
    elif before.endpoints != event.endpoints:
        said.append(_changed(event, before.endpoints or ()))
    state = replace(state, targets=targets.arrived(state.targets, event, now))
    return _offered(state, now), said


def _changed(event: SnapshotArrived, before: tuple[object, ...]) -> Order:
    old, new = frozenset(before), frozenset(event.endpoints)
    return note(
        "endpoints.changed",
        "warning" if event.refused or event.beyond else "info",
        source=event.source,
        endpoints=len(new),
        added=len(new - old),
        removed=len(old - new),
        refused=event.refused,
        beyond_limit=event.beyond,
    )


def _not_heard(state: State, event: DiscoveryFailed, now: float) -> Decision:
    first = state.targets.sources[event.source].failing_since is None
    said = note(
        "discovery.failed",
        "warning" if first else "debug",
        source=event.source,
        reason=event.reason,
        keeping=len(state.rollout.wanted.endpoints) if state.rollout.wanted else 0,
        retry_in=round(event.retry_in, 2),
    )
    state = replace(state, targets=targets.failed(state.targets, event, now))
    return _offered(state, now), [said]


def _offered(state: State, now: float) -> State:
    """Want what the sources say, once all have been tried or the first start has waited enough."""
    waited = now >= state.started_at + state.settings.start_wait
    if state.rollout.wanted is None and not state.targets.tried_all and not waited:
        return state
    plan = targets.choose(state.targets, state.settings.max_endpoints)
    return replace(state, rollout=rollout.offer(state.rollout, plan, now))


def _signalled(state: State, signum: int, now: float) -> Decision:
    if signum in ending.STOP_SIGNALS:
        return ending.begin(
            state, lifetime.asked_to_stop(state.lifetime, state.settings.stop_timeout, now)
        )
    if signum == signal.SIGHUP:
        state = replace(state, rollout=rollout.ask_again(state.rollout, now))
        return state, [Requery(), note("files.rereading", signal="SIGHUP")]
    if signum == signal.SIGUSR1 and state.master.health is Health.UP:
        return state, [Kill(state.master.pid, signal.SIGUSR1), note("nginx.logs_reopened")]
    if signum == signal.SIGUSR2:
        return state, [status(state, now)]
    return state, []
