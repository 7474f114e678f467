"""
What a person should know now, worst first.
"""

from collections.abc import Iterator

from supervisor.core import deadline
from supervisor.core.durations import format_span
from supervisor.core.model import Mode
from supervisor.core.state import State


def warnings(state: State, now: float, *, current: bool) -> list[dict[str, str]]:
    """
    Return what is wrong, or will be soon; nothing while all is well.
    """
    return [{"kind": kind, "text": text} for kind, text in _found(state, now, current=current)]


def _found(state: State, now: float, *, current: bool) -> Iterator[tuple[str, str]]:
    if not current:
        yield "loop_stuck", "the supervisor hangs: what is told here is old"
    view, roll = state.view, state.rollout
    if roll.live is not None and not view.healthy and not state.lifetime.is_ending:
        yield "nginx_silent", f"nginx is {state.master.health} and does not answer"
    if roll.failures:
        latest = state.stats.reloads[0].reason if state.stats.reloads else None
        yield "reload_failed", f"the last good configuration serves on: {latest}"
    if not state.is_saved:
        yield "not_saved", "the deadline is not on disk: a restart counts anew"
    if roll.live is not None and roll.live.plan.mode not in {Mode.SERVE, Mode.DRAINING}:
        yield "nobody_ready", f"clients get 503: {roll.live.plan.mode}"
    for name, source in state.endpoint_set.sources.items():
        if source.failing_since is not None:
            silence = format_span(max(0.0, now - source.failing_since))
            kept = f"keeping {len(source.endpoints or ())} endpoints"
            yield "discovery_failing", f"{name} has not answered for {silence}: {kept}"
    if state.generations.why:
        yield "reload_waits", f"a reload waits: {state.generations.why}"
    for warning in state.warnings:
        yield "endpoints_remark", warning
    span = deadline.current_warning(state.settings.warn_at, state.lifetime.deadline - now)
    if span and not state.lifetime.is_ending:
        yield "deadline_near", f"the end begins in less than {format_span(span)}"
