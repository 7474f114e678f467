"""
The rules while the service runs: what events mean, and what is due without any.
"""

import signal
from dataclasses import replace
from typing import assert_never

from supervisor import lifetime, master, rollout, targets
from supervisor.durations import format_span
from supervisor.errors import ExitCode
from supervisor.master import Health
from supervisor.messages import (
    ChildExited,
    ConnectionsCounted,
    DiscoveryFailed,
    Event,
    GenerationSeen,
    Kill,
    Order,
    OrphansFound,
    QuitOrphans,
    Requery,
    Restore,
    SignalArrived,
    SnapshotArrived,
    Spawned,
    SpawnFailed,
    SpawnMaster,
    Staged,
    StageFailed,
    StateSaved,
    SwapFailed,
    Swapped,
    TimePassed,
    leave,
    note,
)
from supervisor.model import ChildKind
from supervisor.policy import ending
from supervisor.policy.shown import status
from supervisor.policy.state import Decision, State
from supervisor.rollout import Step


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
            return _child(state, event, now)
        case Staged() | StageFailed() | Swapped() | SwapFailed():
            return _filed(state, event, now)
        case GenerationSeen(generation):
            return _seen(state, generation, now)
        case StateSaved(trouble):
            hint = "the deadline will count anew after a restart"
            return state, [
                note("state.not_saved", "warning", reason=trouble, hint=hint)
            ] if trouble else []
        case TimePassed() | ConnectionsCounted():
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
    if state.rollout.wanted is None and now >= state.started_at + state.settings.start_wait:
        state = _offered(state, now)
    if now >= state.master.boot_by:
        why = f"nginx did not answer within {format_span(state.settings.start_timeout)}"
        doomed = replace(state.master, boot_by=lifetime.NEVER, given_up=why)
        return replace(state, master=doomed), [Kill(state.master.pid, signal.SIGKILL, group=True)]
    if now >= state.master.respawn_at:
        state = replace(state, master=replace(state.master, respawn_at=lifetime.NEVER))
        return _rolled(state, rollout.revive(state.rollout, now))
    if now >= state.rollout.give_up_at:
        return _overdue(state, now)
    if now >= rollout.ready_at(state.rollout):
        state, orders = _rolled(state, rollout.apply(state.rollout))
    if now >= state.dark_at:
        said = note("nginx.dark", "error", hint="reloading the last good files")
        state, orders = _rolled(state, rollout.revive(state.rollout, now))
        return state, [said, *orders]
    if now >= state.rollout_at:
        state, more = _rolled(state, rollout.begin(state.rollout, now))
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
    if state.rollout.wanted is None and not state.targets.heard_all:
        return state, said
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
    return replace(state, targets=targets.failed(state.targets, event, now)), [said]


def _offered(state: State, now: float) -> State:
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


# ---------------------------------------------------------------------------------- children


def _child(
    state: State, event: Spawned | SpawnFailed | ChildExited | OrphansFound, now: float
) -> Decision:
    match event:
        case Spawned(ChildKind.CHECK, pid):
            if state.rollout.step is not Step.CHECKING:
                return state, [Kill(pid, signal.SIGKILL, group=True)]
            return replace(state, rollout=replace(state.rollout, check=pid)), []
        case Spawned(_, pid):
            booting = master.spawned(state.master, pid, now, state.settings.start_timeout)
            return replace(state, master=booting), [note("nginx.started", pid=pid)]
        case SpawnFailed():
            return _not_spawned(state, event, now)
        case ChildExited(pid, ChildKind.CHECK) if pid == state.rollout.check:
            if event.code == 0:
                return _rolled(state, rollout.checked(state.rollout))
            said = event.said or f"nginx -t ended with {event.code}"
            return _attempt_failed(state, ExitCode.CONFIG, said, now)
        case ChildExited(pid, ChildKind.MASTER) if pid == state.master.pid:
            return _master_died(state, event, now)
        case ChildExited(pid=pid):
            return replace(state, master=master.buried(state.master, pid)), []
        case OrphansFound(pids):
            said_so = note("nginx.orphans_told_to_quit", workers=len(pids))
            return replace(state, master=master.orphaned(state.master, pids)), [said_so]
        case _:
            assert_never(event)


def _not_spawned(state: State, event: SpawnFailed, now: float) -> Decision:
    why = "nginx cannot be started"
    if not state.master.ever_answered:
        return state, [leave(event.code, why, said=event.reason)]
    if event.kind is ChildKind.CHECK:
        return _attempt_failed(state, ExitCode.UNAVAILABLE, event.reason, now)
    down = master.died(state.master, now)
    said = note("nginx.not_started", "error", reason=event.reason, failures=len(down.crashes))
    if master.is_hopeless(down):
        return state, [said, leave(event.code, why, said=event.reason)]
    return replace(state, master=down, rollout=rollout.abandon(state.rollout)), [said]


def _master_died(state: State, event: ChildExited, now: float) -> Decision:
    doom, pid = state.master.given_up, event.pid
    sweep = Kill(pid, signal.SIGKILL, group=True)
    if not state.master.ever_answered:
        why = doom or f"nginx ended with {event.code} before its first answer"
        return state, [sweep, leave(ExitCode.UNAVAILABLE, why, said=event.said)]
    down = master.died(state.master, now)
    orders: list[Order] = [
        note("nginx.died", "error", code=event.code, deaths=len(down.crashes), said=event.said)
    ]
    # Orphans that held the port against this master have had their chance to go politely.
    if state.master.health is Health.BOOTING or master.is_hopeless(down):
        orders += [Kill(orphan, signal.SIGKILL) for orphan in sorted(down.orphans)]
    if master.is_hopeless(down):
        code = ExitCode.UNAVAILABLE if doom else event.code or ExitCode.SOFTWARE
        why = doom or f"nginx ended {len(down.crashes)} times within {format_span(master.WINDOW)}"
        return state, [*orders, sweep, leave(code, why, said=event.said)]
    orders.append(sweep if doom else QuitOrphans(pid))
    down = replace(down, seeking_orphans=not doom)
    return replace(state, master=down, rollout=rollout.abandon(state.rollout)), orders


# ---------------------------------------------------------------------------- the attempt


def _filed(
    state: State, event: Staged | StageFailed | Swapped | SwapFailed, now: float
) -> Decision:
    roll, settings = state.rollout, state.settings
    awaited = Step.STAGING if isinstance(event, Staged | StageFailed) else Step.SWAPPING
    if roll.step is not awaited or roll.trying is None or event.attempt != roll.trying.attempt:
        return state, []  # of an attempt that was abandoned
    match event:
        case Staged():
            return _rolled(state, rollout.staged(roll, event, settings.start_timeout, now))
        case SwapFailed(_, reason) if roll.live is not None and state.master.health is Health.DOWN:
            # The files could not be put back; they may be whole, and without nginx nothing serves.
            state, orders = _swapped(state, now)
            return state, [note("files.not_restored", "error", reason=reason), *orders]
        case StageFailed(_, reason) | SwapFailed(_, reason):
            return _attempt_failed(state, ExitCode.CONFIG, reason, now)
        case Swapped():
            return _swapped(state, now)
        case _:
            assert_never(event)


def _swapped(state: State, now: float) -> Decision:
    silent, revives = state.rollout.silent, state.rollout.revives
    rolled = rollout.swapped(state.rollout, now, state.settings.verify_timeout)
    if state.master.health is Health.DOWN:
        # `boot_by` bounds a start; a reload's bound would be too short for it.
        return replace(state, rollout=replace(rolled, give_up_at=lifetime.NEVER)), [SpawnMaster()]
    state = replace(state, rollout=rolled)
    if silent:
        return state, [note("files.restored", "warning")]
    awake: list[Order] = [Kill(state.master.pid, signal.SIGCONT)] if revives else []
    return state, [*awake, Kill(state.master.pid, signal.SIGHUP)]


def _seen(state: State, generation: str | None, now: float) -> Decision:
    orders: list[Order] = []
    trying, live = state.rollout.trying, state.rollout.live
    awaited = (
        state.rollout.step is Step.LOOKING
        and trying is not None
        and generation == trying.generation
    )
    if generation is not None:
        state = replace(state, seen_at=now)
        if state.master.health is Health.BOOTING and (awaited or live is not None):
            took = round(now - state.started_at, 3) if live is None else None
            state = replace(state, master=master.answered(state.master))
            orders.append(note("nginx.answers", pid=state.master.pid, since_start=took))
    if awaited:
        state, more = _rolled(state, rollout.promote(state.rollout, now))
        return state, [*orders, *more]
    if state.master.health is Health.UP:
        state = replace(state, rollout=rollout.looked(state.rollout, generation, now))
    return state, orders


def _attempt_failed(state: State, code: ExitCode, reason: str, now: float) -> Decision:
    if state.rollout.live is None:
        return state, [leave(code, "the first configuration cannot be used", said=reason)]
    return _rolled(state, rollout.fail(state.rollout, reason, now))


def _overdue(state: State, now: float) -> Decision:
    """Stop waiting for a step: for `nginx -t`, or for a generation to answer."""
    roll, live, settings = state.rollout, state.rollout.live, state.settings
    if roll.step is Step.CHECKING:
        reason = f"nginx -t did not end within {format_span(settings.start_timeout)}"
        stuck = [Kill(roll.check, signal.SIGKILL, group=True)] if roll.check else []
        state, orders = _attempt_failed(state, ExitCode.UNAVAILABLE, reason, now)
        return state, [*stuck, *orders]
    if roll.revives:
        why = "nothing answers even after a reload of the last good files"
        state = replace(
            state, master=replace(state.master, given_up=why), rollout=rollout.abandon(roll)
        )
        said = note("nginx.replaced", "error", reason=why)
        return state, [said, Kill(state.master.pid, signal.SIGKILL, group=True)]
    assert live is not None  # a first start is bounded by `boot_by` instead
    # The last good files come back before what was tried goes: until then it is the live folder.
    reason = f"the new generation did not answer within {format_span(settings.verify_timeout)}"
    state, orders = _rolled(state, rollout.fail(roll, reason, now))
    if roll.seen is None:
        state, more = _rolled(state, rollout.revive(state.rollout, now))
        return state, [*more, *orders]
    # A stopped master would reload the restored files once it is awake.
    return state, [Restore(live), Kill(state.master.pid, signal.SIGCONT), *orders]


def _rolled(state: State, outcome: rollout.Outcome) -> Decision:
    rolled, orders = outcome
    return replace(state, rollout=rolled), orders
