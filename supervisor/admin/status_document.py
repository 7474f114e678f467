"""
The document that `/status` answers: the state in the words of `docs/status.schema.json`.

Made when somebody asks, by whoever asks, of a state that nobody changes any more: it costs the loop
nothing.  A field is in the schema or it is not here, so no setting that is a secret can get out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any

from supervisor import __version__
from supervisor.admin.warnings import warnings
from supervisor.core import deadline
from supervisor.core.durations import format_moment
from supervisor.core.model import NEVER, Endpoint, HealthState, ServerOptions
from supervisor.core.state import State

#: The version of the schema.
SCHEMA = 1

#: So many endpoints have a row of their own.
ROWS = 1000


@dataclass(frozen=True, slots=True)
class Observation:
    """
    What a reader knows and the state does not.

    `now` is the loop's clock and `wall` the epoch, both at the moment of asking.  `current` tells
    whether the loop still turns, `lives` whether a process is still there, `is_counting` whether
    nginx can count its connections, and `connections` what it counts, None where it does not
    answer.
    """

    now: float
    wall: float
    current: bool
    lives: Callable[[int], bool]
    nginx: str
    python: str
    is_counting: bool
    connections: Mapping[str, int] | None = None


def document(state: State, seen: Observation, samples: Mapping[str, Any]) -> dict[str, Any]:
    """
    Write down all that people and programs may know; the samples are what plots are made of.
    """
    view, life = state.view, state.lifetime
    ending = None
    if life.ladder.has_begun:
        ending = {
            "reason": life.ladder.reason,
            "began_at": _moment(life.ladder.began_at, seen),
            "gone_within": round(max(0.0, life.ladder.gone_at - seen.now), 3),
        }
    return {
        "schema": SCHEMA,
        "now": format_moment(seen.wall),
        "current": seen.current,
        "started_at": _moment(state.started_at, seen),
        "versions": {"autoexit_nginx": __version__, "nginx": seen.nginx, "python": seen.python},
        "service": state.settings.served,
        "phase": life.phase,
        "mode": view.mode,
        "healthy": view.healthy and seen.current,
        "ready": view.ready and seen.current,
        "lame_duck": state.in_lame_duck,
        "ending": ending,
        "deadline": _deadline(state, seen),
        "warnings": warnings(state, seen.now, current=seen.current),
        "endpoints": _endpoints(state, seen),
        "sources": _sources(state, seen),
        "reloads": _reloads(state, seen),
        "nginx": _nginx(state, seen),
        "samples": samples,
    }


def health_counts(state: State) -> dict[str, int]:
    """
    Count the endpoints by their condition.
    """
    known = state.endpoint_set
    counts = dict.fromkeys(HealthState, 0)
    for health_state in list(known.health_states.values()):
        counts[health_state] += 1
    counts[HealthState.UNKNOWN] += len(known.watched or known.known) - len(known.health_states)
    return {health_state.value: count for health_state, count in counts.items()}


def _deadline(state: State, seen: Observation) -> dict[str, Any]:
    record, left = state.record, state.lifetime.deadline - seen.now
    bound = deadline.latest(record, state.settings.max_ttl)
    return {
        "at": _instant(state.deadline_epoch),
        "remaining": None if left == NEVER else round(max(0.0, left), 3),
        "origin": record.origin,
        "first_start": _instant(record.first_start),
        "planned": _instant(record.deadline),
        "extended_to": _instant(record.extended_to),
        "latest": _instant(bound),
        "saved": state.is_saved,
    }


def _endpoints(state: State, seen: Observation) -> dict[str, Any]:
    known = state.endpoint_set
    live = state.rollout.live
    serving = frozenset(live.plan.endpoints) if live else frozenset[Endpoint]()
    every = known.watched.union(known.known, serving)
    listed = frozenset(known.known)
    usual = ServerOptions()

    def urgency(endpoint: Endpoint) -> tuple[bool, Endpoint]:
        return known.health_states.get(endpoint) is HealthState.READY, endpoint

    shown = every if len(every) <= ROWS else nsmallest(ROWS, every, urgency)
    rows = []
    for endpoint in sorted(shown):
        options = known.server_options.get(endpoint, usual)
        rows.append(
            {
                "address": str(endpoint),
                "health": known.health_states.get(endpoint, HealthState.UNKNOWN),
                "since": _moment(known.since.get(endpoint), seen),
                "serving": endpoint in serving,
                "leaving": endpoint not in listed,
                "weight": options.weight,
                "backup": options.backup,
                "drain": options.drain,
            }
        )
    return {
        "known": len(every),
        "serving": len(serving),
        "by_health": health_counts(state),
        "probed_by": state.settings.health_check,
        "omitted": len(every) - len(rows),
        "rows": rows,
    }


def _sources(state: State, seen: Observation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "endpoints": None if source.endpoints is None else len(source.endpoints),
            "heard_at": _moment(source.answered_at, seen),
            "age": None if source.answered_at is None else round(seen.now - source.answered_at, 3),
            "failing_since": _moment(source.failing_since, seen),
            "errors": state.stats.errors.get(name, 0),
            "last_error": state.stats.last_error.get(name),
        }
        for name, source in state.endpoint_set.sources.items()
    ]


def _reloads(state: State, seen: Observation) -> dict[str, Any]:
    stats = state.stats
    return {
        **stats.results,
        "waiting": state.generations.why or None,
        "last": [
            {
                "at": _moment(reload.at, seen),
                "result": reload.result,
                "why": reload.why,
                "reason": reload.reason,
                "took": reload.duration,
                "endpoints": reload.endpoints,
                "mode": reload.mode,
            }
            for reload in stats.reloads
        ],
    }


def _nginx(state: State, seen: Observation) -> dict[str, Any]:
    return {
        "health": state.master.health,
        "pid": state.master.pid or None,
        "generation": state.view.generation or None,
        "restarts": state.stats.master_deaths,
        "worker_deaths": state.stats.worker_deaths,
        "draining": draining(state, seen.lives),
        "connections": seen.connections,
    }


def draining(state: State, lives: Callable[[int], bool]) -> list[dict[str, Any]]:
    """
    Tell which old generations are still there: the state knows of those of the last reload.
    """
    found = []
    for group in state.generations.draining:
        left = {pid for pid in group if lives(pid)}
        if left:
            found.append({"workers": len(left), "told": bool(left & state.generations.signalled)})
    return found


def _moment(at: float | None, seen: Observation) -> str | None:
    """Write an instant on the loop's clock as one on the wall, as the wall is now."""
    return None if at is None or at == NEVER else format_moment(seen.wall - (seen.now - at))


def _instant(epoch: float | None) -> str | None:
    return None if epoch is None else format_moment(epoch)
