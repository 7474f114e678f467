"""
Rules for endpoints: discovery results and health become the wanted plan.

Before the first start the plan waits for the first answer and the first probe results, START_WAIT
at most.  Later a change waits only for the first probe results of new endpoints.

A failed connection of nginx removes no endpoint: it leads to a probe, whose result decides.
"""

from dataclasses import replace
from typing import assert_never

from supervisor.core import balancing, endpoint_set, log_ids, reload
from supervisor.core.balancing import BalancingSettings
from supervisor.core.commands import Command, ProbeNow, SaveCache, SetProbeTargets, note
from supervisor.core.events import DiscoveryFailed, HealthChanged, ProbesFellBack, SnapshotArrived
from supervisor.core.model import ONCE_READY, CachedEndpoints, Endpoint, HealthState
from supervisor.core.policy.reasons import named
from supervisor.core.state import Decision, State

#: The cache is saved at least this often, in seconds, so that its recorded age stays accurate.
_CACHE_INTERVAL = 30.0


def on_discovery_event(
    state: State,
    event: SnapshotArrived | DiscoveryFailed | HealthChanged | ProbesFellBack,
    now: float,
) -> Decision:
    """
    Handle a result of discovery or of the probes.
    """
    match event:
        case SnapshotArrived():
            return _on_answer(state, event, now)
        case DiscoveryFailed():
            return _on_failure(state, event, now)
        case HealthChanged():
            after = endpoint_set.health_changed(state.endpoint_set, event, now)
            notes = _health_notes(state.endpoint_set, after, event)
            return offer_plan(replace(state, endpoint_set=after), now, notes)
        case ProbesFellBack(reason, hint):
            return state, [note("probes.fell_back", "warning", reason=reason, hint=hint)]
        case _:
            assert_never(event)


def on_suspicion(state: State, suspects: frozenset[Endpoint]) -> Decision:
    """
    Have the suspects probed at once that may still get requests.
    """
    health_states = state.endpoint_set.health_states
    usable = (HealthState.READY, HealthState.SLOW)
    serving = frozenset(each for each in suspects if health_states.get(each) in usable)
    return state, [ProbeNow(serving)] if serving else []


def perform_due(state: State, now: float) -> Decision:
    """
    Update the plan when the lame duck phase or another instant is due.
    """
    commands: list[Command] = []
    enters_lame_duck = now >= state.lame_duck_at
    if enters_lame_duck:
        state = replace(state, in_lame_duck=True)
        left = round(state.lifetime.deadline - now, 3)
        commands.append(note("lame_duck", remaining=left, hint="no longer ready, still serving"))
    if enters_lame_duck or state.rollout.wanted is None or now >= state.endpoint_set.due_at:
        state = replace(state, endpoint_set=endpoint_set.elapsed(state.endpoint_set, now))
        return offer_plan(state, now, commands)
    return state, commands


def offer_plan(state: State, now: float, commands: list[Command]) -> Decision:
    """
    Compute the wanted plan, unless first results are still awaited.
    """
    if state.rollout.wanted is None:
        known = state.endpoint_set.tried_all and state.endpoint_set.all_probed
        if not known and now < state.started_at + state.settings.start_wait:
            return state, commands
    elif endpoint_set.is_holding(state.endpoint_set, now):
        passed = endpoint_set.all_passed(state.endpoint_set, now)
        expected = balancing.balance(passed, _balancing_settings(state)).plan
        return replace(state, rollout=reload.expect(state.rollout, expected)), commands
    chosen = balancing.balance(state.endpoint_set, _balancing_settings(state))
    commands += [
        note("endpoints.warning", "warning", reason=warning)
        for warning in chosen.warnings
        if warning not in state.warnings
    ]
    state = replace(
        state,
        endpoint_set=endpoint_set.release_hold(state.endpoint_set),
        rollout=reload.offer(state.rollout, chosen.plan, now),
        warnings=chosen.warnings,
    )
    return state, commands


def update_services(state: State, now: float) -> Decision:
    """
    Update the probe targets and the endpoint cache from the state.
    """
    commands: list[Command] = []
    if state.endpoint_set.is_probing:
        known = state.endpoint_set
        targets = SetProbeTargets(
            known.watched, frozenset(known.leaving), known.allocations, known.was_ready
        )
        if state.lifetime.is_ending:
            targets = SetProbeTargets(frozenset())
        if targets != state.probe_targets:
            state = replace(state, probe_targets=targets)
            commands.append(targets)
    live = state.rollout.live
    if live is None or state.lifetime.is_ending:
        return state, commands
    is_due = live.generation != state.cache_generation or now >= state.cached_at + _CACHE_INTERVAL
    caches = _caches(state, now) if is_due else {}
    if caches:
        commands.append(SaveCache(caches))
        state = replace(state, cache_generation=live.generation, cached_at=now)
    return state, commands


# ------------------------------------------------------------------------------- the sources


def _on_answer(state: State, event: SnapshotArrived, now: float) -> Decision:
    before = state.endpoint_set.sources[event.source]
    notes: list[Command] = []
    if before.failing_since is not None:
        outage = round(now - before.failing_since, 2)
        notes.append(note("discovery.recovered", source=event.source, after=outage))
    if not event.confirmed:
        notes.append(
            note(
                "discovery.empty_unconfirmed", source=event.source, hint="querying again to confirm"
            )
        )
    elif (before.endpoints, before.server_options) != (event.endpoints, event.server_options):
        notes.append(_changed(event, before.endpoints or ()))
    if len(event.jobs) > 1 and event.source not in state.multiple_jobs:
        state = replace(state, multiple_jobs=state.multiple_jobs | {event.source})
        hint = "endpoints of all jobs are served; set SERVICE_JOB to one job ID or to self"
        notes.append(
            note(
                "service.multiple_jobs",
                "warning",
                source=event.source,
                jobs=list(event.jobs),
                hint=hint,
            )
        )
    state = replace(state, endpoint_set=endpoint_set.arrived(state.endpoint_set, event, now))
    return offer_plan(state, now, notes)


def _changed(event: SnapshotArrived, before: tuple[Endpoint, ...]) -> Command:
    old, new = frozenset(before), frozenset(event.endpoints)
    return note(
        "endpoints.changed",
        "warning" if event.reasons or event.over_limit or event.invalid_tags else "info",
        source=event.source,
        endpoints=len(new),
        added=len(new - old),
        removed=len(old - new),
        refused=event.refused,
        over_limit=event.over_limit,
        skipped=event.skipped,
        invalid_tags=event.invalid_tags,
        reasons=list(event.reasons) or None,
    )


def _on_failure(state: State, event: DiscoveryFailed, now: float) -> Decision:
    source = state.endpoint_set.sources[event.source]
    line = note(
        log_ids.DISCOVERY_FAILED,
        "warning" if source.failing_since is None else "debug",
        source=event.source,
        reason=event.reason,
        endpoints_kept=len(source.endpoints or ()),
        answer_age=None if source.answered_at is None else round(now - source.answered_at, 1),
        retry_in=round(event.retry_in, 2),
    )
    state = replace(state, endpoint_set=endpoint_set.failed(state.endpoint_set, event, now))
    return offer_plan(state, now, [line])


# ----------------------------------------------------------------------- health, plan, cache


def _health_notes(
    before: endpoint_set.EndpointSet, after: endpoint_set.EndpointSet, event: HealthChanged
) -> list[Command]:
    """Log endpoints that became ready or lost readiness, not the failures of new ones."""
    changed = {
        each: after.health_states[each]
        for each in event.health_states
        if each in after.health_states
        and after.health_states[each] is not before.health_states.get(each)
    }
    ready = [each for each in changed if changed[each] is HealthState.READY]
    lost = [each for each in changed if before.health_states.get(each) is HealthState.READY]
    if not ready and not lost:
        return []
    counts = dict.fromkeys(HealthState, 0)
    for health_state in after.health_states.values():
        counts[health_state] += 1
    counts[HealthState.UNKNOWN] += len(after.watched) - len(after.health_states)
    return [
        note(
            "health.changed",
            "warning" if lost else "info",
            became_ready=named(ready),
            lost=named(lost),
            **{health_state.value: count for health_state, count in counts.items() if count},
        )
    ]


def _balancing_settings(state: State) -> BalancingSettings:
    settings = state.settings
    return BalancingSettings(
        settings.lb_method, settings.health_fail_open, state.deadline_epoch, state.in_lame_duck
    )


def _caches(state: State, now: float) -> dict[str, CachedEndpoints]:
    known = state.endpoint_set
    was_ready = frozenset(
        endpoint
        for endpoint, health_state in known.health_states.items()
        if health_state in ONCE_READY
    )
    return {
        name: CachedEndpoints(
            source.endpoints,
            source.server_options,
            was_ready.intersection(source.endpoints),
            now - source.answered_at,
        )
        for name, source in known.sources.items()
        if source.endpoints is not None and source.answered_at is not None
    }
