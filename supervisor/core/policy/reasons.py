"""
Rules for reasons: why an endpoint is not ready, in the log, once.

A replica may load for minutes, so the reason is logged only when an endpoint has not been ready for
30 s, since it was listed or since it was ready last.  The status shows it from the first probe on.
"""

from collections.abc import Iterable
from dataclasses import replace

from supervisor.core import endpoint_set
from supervisor.core.commands import Command, ReportProbes, note
from supervisor.core.events import ProbesReported
from supervisor.core.model import Endpoint, HealthState
from supervisor.core.probe_advice import next_step
from supervisor.core.probe_outcome import Outcome
from supervisor.core.state import Decision, State

#: The most endpoints named in one log line; the others are counted.
_MAX_NAMED = 5


def perform_due(state: State, now: float) -> Decision:
    """
    Request the outcomes of the endpoints that have not been ready for too long.
    """
    known, due = endpoint_set.take_unexplained(state.endpoint_set, now)
    if not due:
        return state, []
    return replace(state, endpoint_set=known), [ReportProbes(due)]


def on_probes_reported(state: State, event: ProbesReported) -> Decision:
    """
    Log one line for each cause, with the endpoints that have it and the next step.
    """
    health_states = state.endpoint_set.health_states
    unready = sorted(
        each
        for each in event.endpoints.intersection(state.endpoint_set.known)
        if health_states.get(each) is not HealthState.READY
    )
    causes: dict[object, list[Endpoint]] = {}
    for endpoint in unready:
        outcome = event.outcomes.get(endpoint)
        causes.setdefault(outcome and outcome.cause, []).append(endpoint)
    return state, [
        _line(state, endpoints, event.outcomes.get(endpoints[0])) for endpoints in causes.values()
    ]


def _line(state: State, endpoints: list[Endpoint], outcome: Outcome | None) -> Command:
    return note(
        "health.not_ready",
        "warning",
        endpoints=named(endpoints),
        after=endpoint_set.EXPLAIN_AFTER,
        last_probe="none" if outcome is None else str(outcome),
        hint=next_step(outcome, endpoints[0], state.settings),
    )


def named(endpoints: Iterable[Endpoint]) -> list[str]:
    """
    Return the first endpoints as text, and how many more there are.
    """
    ordered = sorted(endpoints)
    more = [f"and {len(ordered) - _MAX_NAMED} more"] if len(ordered) > _MAX_NAMED else []
    return [*map(str, ordered[:_MAX_NAMED]), *more]
