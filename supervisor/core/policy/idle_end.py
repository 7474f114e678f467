"""
Rules for IDLE_TIMEOUT: the end of a service that no client uses, and the warnings before it.

The end is that of the deadline: a drain with exit code 0, or the stop of the whole job with
AT_DEADLINE=stop-job; only its reason differs.  It begins at a look (UseObserved), never by a timer.
"""

from dataclasses import replace

from supervisor.core import deadline, idle, lifecycle
from supervisor.core.commands import Command, note
from supervisor.core.durations import format_span
from supervisor.core.events import UseObserved
from supervisor.core.lifecycle import Phase
from supervisor.core.model import Mode
from supervisor.core.policy import awaiting_job_stop, shutdown
from supervisor.core.state import Decision, State

REASON = "idle"


def on_use_observed(state: State, look: UseObserved, now: float) -> Decision:
    """
    Start the clock again if the service is used, else warn or begin the end when due.
    """
    timeout = state.settings.idle_timeout
    if timeout is None or state.lifetime.phase is not Phase.RUNNING:
        return state, []
    before = state.idle
    seen, is_used = idle.observed(before, look, now)
    state = replace(state, idle=seen)
    live = state.rollout.live
    lines = list[Command]()
    if look.error and look.error != before.error:
        hint = "IDLE_TIMEOUT ends nothing while this lasts; the deadline does"
        lines.append(note("idle.unknown", "warning", reason=look.error, hint=hint))
    if seen.used_at is None:
        if live is None or live.plan.mode is not Mode.SERVE:
            return state, lines
        is_used = True
    if is_used:
        if seen.warned:
            lines.append(note("idle.over", requests=look.requests, connections=look.open))
        return _start_clock(state, timeout, now), lines
    if idle.is_over(seen, timeout, now):
        return _end(state, timeout, now)
    state, more = _warn(state, timeout, now)
    return state, [*lines, *more]


def restart_clock(state: State, now: float) -> State:
    """
    Count from now, if the clock runs: who asks for more time uses the service.
    """
    timeout = state.settings.idle_timeout
    if timeout is None or state.idle.used_at is None:
        return state
    return _start_clock(state, timeout, now)


def _start_clock(state: State, timeout: float, now: float) -> State:
    started = idle.started(state.idle, state.settings.warn_at, timeout, now)
    return replace(state, idle=started)


def _warn(state: State, timeout: float, now: float) -> Decision:
    """Log that the idle end is near, unless the deadline comes first."""
    clock = state.idle
    assert clock.used_at is not None
    ends_at = clock.used_at + timeout
    remaining = max(0.0, ends_at - now)
    if not clock.warns_before or remaining > clock.warns_before:
        return state, []
    spans = idle.warnings_before_end(state.settings.warn_at, timeout)
    due = deadline.next_warning(spans, remaining)
    state = replace(state, idle=replace(clock, warns_before=due, warned=True))
    if ends_at >= state.lifetime.deadline:
        return state, []
    line = note(
        "idle.near",
        "warning",
        remaining=round(remaining, 1),
        idle_for=round(now - clock.used_at, 1),
        hint="any request starts the idle time again, and so does `autoexit-nginx extend 1h`",
    )
    return state, [line]


def _end(state: State, timeout: float, now: float) -> Decision:
    line = note(
        "idle.ended",
        "warning",
        idle_for=round(now - (state.idle.used_at or now), 1),
        hint=f"no client sent a request for IDLE_TIMEOUT={format_span(timeout)}",
    )
    if state.settings.stops_job:
        state, commands = awaiting_job_stop.request_job_stop(state, now, REASON)
    else:
        total = state.settings.drain_timeout
        life = lifecycle.drain(state.lifetime, REASON, total, now)
        state, commands = shutdown.start_shutdown(state, life)
    return state, [line, *commands]
