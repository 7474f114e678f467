"""
The warnings of the status, worst first.
"""

from collections.abc import Iterator, Mapping

from supervisor.core import deadline, nginx_advice, words
from supervisor.core.durations import format_span
from supervisor.core.lifecycle import Phase
from supervisor.core.model import Endpoint, HealthState, Mode
from supervisor.core.probe_advice import next_step
from supervisor.core.probe_outcome import ProbeReport
from supervisor.core.state import State

#: The most causes of endpoints that are not ready that are listed.
_MAX_CAUSES = 10


def warnings(
    state: State, now: float, reports: Mapping[Endpoint, ProbeReport], *, current: bool
) -> list[dict[str, str]]:
    """
    Return the current problems and those that come soon; empty if there are none.
    """
    found = _active(state, now, reports, current=current)
    return [{"kind": kind, "text": text} for kind, text in found]


def _active(
    state: State, now: float, reports: Mapping[Endpoint, ProbeReport], *, current: bool
) -> Iterator[tuple[str, str]]:
    if not current:
        yield "loop_stuck", "the supervisor loop is stuck; this status is stale"
    view, rollout = state.view, state.rollout
    if rollout.live is not None and not view.healthy and not state.lifetime.is_ending:
        yield "nginx_silent", f"nginx does not respond; it is {words.master(state.master.health)}"
    if rollout.failures:
        latest = state.stats.reloads[0].reason if state.stats.reloads else None
        text = f"reload failed, still serving the last good configuration: {latest}"
        hint = nginx_advice.next_step(latest or "", state.settings)
        yield "reload_failed", "; ".join(filter(None, (text, hint)))
    for disk, reason in state.overdue.items():
        yield "disk_overdue", f"{words.disk(disk)}: {reason}"
    if not state.is_saved:
        yield "not_saved", "the deadline could not be saved; a restart would reset it"
    if state.job_move.problem:
        yield "deadline_not_moved", f"the job's variable is ignored: {state.job_move.problem}"
    if state.job_move.failing_since is not None and not state.job_move.is_denied:
        failing_for = format_span(max(0.0, now - state.job_move.failing_since))
        text = f"cannot read the job's deadline for {failing_for}: {state.job_move.failure}"
        yield "deadline_not_followed", text
    if rollout.live is not None and rollout.live.plan.mode not in {Mode.SERVE, Mode.DRAINING}:
        yield "nobody_ready", f"clients receive 503: {words.mode(rollout.live.plan.mode)}"
    if state.settings.task_environment.port_warning:
        yield "port_unpublished", state.settings.task_environment.port_warning
    for name, source in state.endpoint_set.sources.items():
        if source.failing_since is not None:
            failing_for = format_span(max(0.0, now - source.failing_since))
            kept = f"keeping {len(source.endpoints or ())} endpoints"
            error = state.stats.last_error.get(name)
            why = f": {error}" if error else ""
            yield "discovery_failing", f"{name} has been failing for {failing_for}{why}; {kept}"
        if source.cause:
            yield "no_instances", source.cause
    if not state.lifetime.is_ending:
        for text in _not_ready(state, reports):
            yield "not_ready", text
    if state.generations.why:
        yield "reload_waits", f"a reload is waiting: {state.generations.why}"
    for warning in state.warnings:
        yield "endpoints_remark", warning
    for warning in state.file_warnings:
        yield "files_remark", warning
    yield from _idle(state, now)
    span = deadline.current_warning(state.settings.warn_at, state.lifetime.deadline - now)
    if span and not state.lifetime.is_ending:
        yield "deadline_near", f"shutdown begins in less than {format_span(span)}"


def _idle(state: State, now: float) -> Iterator[tuple[str, str]]:
    """Yield that the idle end is near, or why it cannot come."""
    clock, timeout = state.idle, state.settings.idle_timeout
    if timeout is None or state.lifetime.phase is not Phase.RUNNING:
        return
    if clock.error:
        yield "idle_unknown", f"IDLE_TIMEOUT ends nothing: {clock.error}"
    elif clock.used_at is not None and clock.warned:
        ends_at = clock.used_at + timeout
        if ends_at < state.lifetime.deadline:
            left = format_span(max(1, round(ends_at - now)))
            yield "idle_near", f"no requests: shutdown begins in {left} unless one arrives"


def _not_ready(state: State, reports: Mapping[Endpoint, ProbeReport]) -> Iterator[str]:
    """Yield each cause of endpoints that have not been ready for long, with the next step."""
    health_states = state.endpoint_set.health_states
    causes: dict[object, list[Endpoint]] = {}
    for endpoint in sorted(state.endpoint_set.explained):
        if endpoint in reports and health_states.get(endpoint) is not HealthState.READY:
            causes.setdefault(reports[endpoint].outcome.cause, []).append(endpoint)
    for first, *others in list(causes.values())[:_MAX_CAUSES]:
        outcome = reports[first].outcome
        more = f" and {len(others)} more" if others else ""
        yield f"{first}{more} not ready: {outcome}; {next_step(outcome, first, state.settings)}"
