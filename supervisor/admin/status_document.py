"""
The document of `/status`: the state in the format of `docs/status.schema.json`.

It is built at each request, in the client's thread, from a frozen state, so it costs the loop
nothing.  It contains only the fields of the schema, so no secret setting can leak.
"""

from collections.abc import Callable, Iterable, Mapping
from heapq import nsmallest
from typing import Any

from supervisor import __version__
from supervisor.admin.warnings import warnings
from supervisor.core import deadline, job_deadline, job_move
from supervisor.core import endpoint_set as endpoint_sets
from supervisor.core.durations import format_moment
from supervisor.core.model import NEVER, Endpoint, HealthState, Origin, ServerOptions
from supervisor.core.policy import job_moves
from supervisor.core.probe_advice import next_step
from supervisor.core.probe_outcome import ProbeReport
from supervisor.core.state import State
from supervisor.core.values import value_class

#: The version of the schema.
SCHEMA = 1

#: Maximum number of endpoint rows.
MAX_ROWS = 1000


@value_class(frozen=True, slots=True)
class Observation:
    """
    The values of one moment that the state does not contain.

    `now` is the loop's clock and `wall` the epoch, in seconds.  `current` is false if the loop is
    stuck; `is_running` returns whether a process exists; `is_counting`: nginx has stub_status;
    `connections` are its counters, `clients` those of clients alone; None without a response.
    `probes` returns the last outcome of endpoints.
    """

    now: float
    wall: float
    current: bool
    is_running: Callable[[int], bool]
    nginx: str
    python: str
    is_counting: bool
    connections: Mapping[str, int] | None = None
    probes: Callable[[Iterable[Endpoint]], Mapping[Endpoint, ProbeReport]] = lambda _: {}
    clients: Mapping[str, int] | None = None


def document(state: State, observation: Observation, samples: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the status document; `samples` are the columns of the plots.
    """
    view, lifetime = state.view, state.lifetime
    shown = _shown(state)
    reports = observation.probes(shown)
    ending = None
    if lifetime.ladder.has_begun:
        ending = {
            "reason": lifetime.ladder.reason,
            "began_at": _moment(lifetime.ladder.began_at, observation),
            "gone_within": round(max(0.0, lifetime.ladder.gone_at - observation.now), 3),
        }
    return {
        "schema": SCHEMA,
        "now": format_moment(observation.wall),
        "current": observation.current,
        "started_at": _moment(state.started_at, observation),
        "versions": {
            "autoexit_nginx": __version__,
            "nginx": observation.nginx,
            "python": observation.python,
        },
        "service": state.settings.served,
        "title": state.settings.title,
        "instance": _instance(state),
        "phase": lifetime.phase,
        "mode": view.mode,
        "healthy": view.healthy and observation.current,
        "ready": view.ready and observation.current,
        "lame_duck": state.in_lame_duck,
        "ending": ending,
        "deadline": _deadline(state, observation),
        "idle": _idle(state, observation),
        "warnings": warnings(state, observation.now, reports, current=observation.current),
        "endpoints": _endpoints(state, observation, shown, reports),
        "sources": _sources(state, observation),
        "reloads": _reloads(state, observation),
        "nginx": _nginx(state, observation),
        "samples": samples,
    }


def health_counts(state: State) -> dict[str, int]:
    """
    Count the endpoints by health state.
    """
    endpoint_set = state.endpoint_set
    counts = dict.fromkeys(HealthState, 0)
    for health_state in list(endpoint_set.health_states.values()):
        counts[health_state] += 1
    probed = endpoint_set.watched or endpoint_set.known
    counts[HealthState.UNKNOWN] += len(probed) - len(endpoint_set.health_states)
    return {health_state.value: count for health_state, count in counts.items()}


def _deadline(state: State, observation: Observation) -> dict[str, Any]:
    record, left = state.record, state.lifetime.deadline - observation.now
    latest = deadline.latest(record, state.settings.max_ttl)
    return {
        "at": _instant(state.deadline_epoch),
        "remaining": None if left == NEVER else round(max(0.0, left), 3),
        "origin": record.origin,
        "first_start": _instant(record.first_start),
        "planned": _instant(record.deadline),
        "extended_to": _instant(record.extended_to),
        "latest": _instant(latest),
        "saved": state.is_saved,
        "moved_by": _moved_by(state),
        "job": _job_deadline(state, observation) if state.settings.job_variable else None,
    }


def _moved_by(state: State) -> str | None:
    """Return what moved the deadline last, None if it is the planned one."""
    if state.record.extended_to is None:
        return None
    if state.record.moved_by != job_deadline.BY_JOB:
        return job_move.ONLY_BALANCER
    variable = state.job_move.variable
    return (variable.moved_by if variable is not None else "") or job_move.HAND


def _job_deadline(state: State, observation: Observation) -> dict[str, Any]:
    """Return what is known of the job's variable, and how many replicas may follow it."""
    move = state.job_move
    return {
        "variable": state.settings.job_variable,
        "read_at": _moment(move.read_at, observation),
        "failing_since": _moment(move.failing_since, observation),
        "error": move.failure or None,
        "problem": move.problem or None,
        "replicas": job_moves.replicas(state).allocations,
    }


def _idle(state: State, observation: Observation) -> dict[str, Any] | None:
    """Return the idle clock; None without IDLE_TIMEOUT."""
    timeout, idle = state.settings.idle_timeout, state.idle
    if timeout is None:
        return None
    idle_for = idle_ends_in = ends_at = None
    if idle.used_at is not None:
        ends_at = idle.used_at + timeout
        idle_for = round(max(0.0, observation.now - idle.used_at), 3)
        idle_ends_in = round(max(0.0, ends_at - observation.now), 3)
    return {
        "timeout": timeout,
        "idle_for": idle_for,
        "remaining": idle_ends_in,
        "at": _moment(ends_at, observation),
        "open_connections": idle.open,
        "warned": idle.warned,
        "unknown": idle.error or None,
    }


def _serving(state: State) -> frozenset[Endpoint]:
    live = state.rollout.live
    return frozenset(live.plan.endpoints) if live else frozenset()


def _known(state: State) -> frozenset[Endpoint]:
    return state.endpoint_set.watched.union(state.endpoint_set.known, _serving(state))


def _shown(state: State) -> list[Endpoint]:
    """Return the endpoints that have a row: all, or first those that are not ready."""
    health_states, known = state.endpoint_set.health_states, _known(state)

    def urgency(endpoint: Endpoint) -> tuple[bool, Endpoint]:
        return health_states.get(endpoint) is HealthState.READY, endpoint

    return sorted(known if len(known) <= MAX_ROWS else nsmallest(MAX_ROWS, known, urgency))


def _last_probe(
    state: State, endpoint: Endpoint, report: ProbeReport | None, observation: Observation
) -> dict[str, Any] | None:
    """Return the outcome of the last probe, its time, and the next step unless it is ready."""
    if report is None:
        return None
    is_ready = state.endpoint_set.health_states.get(endpoint) is HealthState.READY
    return {
        "outcome": str(report.outcome),
        "at": _moment(observation.now - report.age, observation),
        "hint": None if is_ready else next_step(report.outcome, endpoint, state.settings),
    }


def _endpoints(
    state: State,
    observation: Observation,
    shown: Iterable[Endpoint],
    reports: Mapping[Endpoint, ProbeReport],
) -> dict[str, Any]:
    endpoint_set = state.endpoint_set
    serving, known = _serving(state), _known(state)
    listed = frozenset(endpoint_set.known)
    default = ServerOptions()
    rows = []
    for endpoint in shown:
        options = endpoint_set.server_options.get(endpoint, default)
        rows.append(
            {
                "address": str(endpoint),
                "health": endpoint_set.health_states.get(endpoint, HealthState.UNKNOWN),
                "since": _moment(endpoint_set.since.get(endpoint), observation),
                "serving": endpoint in serving,
                "leaving": endpoint not in listed,
                "weight": options.weight,
                "backup": options.backup,
                "drain": options.drain,
                **_origin(state, endpoint),
                "last_probe": _last_probe(state, endpoint, reports.get(endpoint), observation),
            }
        )
    return {
        "known": len(known),
        "serving": len(serving),
        "by_health": health_counts(state),
        "probed_by": state.settings.health_check,
        "omitted": len(known) - len(rows),
        "rows": rows,
    }


def _origin(state: State, endpoint: Endpoint) -> dict[str, str | None]:
    """Return the allocation, the node and the job of an endpoint, null where they are unknown."""
    found = endpoint_sets.origin(state.endpoint_set, endpoint) or Origin("", "", "")
    return {name: text or None for name, text in found._asdict().items()}


def _instance(state: State) -> dict[str, str | None]:
    """Return where the supervisor runs in Nomad, null outside of it."""
    instance = state.settings.instance
    return {
        name: getattr(instance, name) or None for name in ("allocation", "task", "job", "command")
    }


def _sources(state: State, observation: Observation) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "endpoints": None if source.endpoints is None else len(source.endpoints),
            "heard_at": _moment(source.answered_at, observation),
            "age": None
            if source.answered_at is None
            else round(observation.now - source.answered_at, 3),
            "failing_since": _moment(source.failing_since, observation),
            "errors": state.stats.errors.get(name, 0),
            "last_error": state.stats.last_error.get(name),
            "cause": source.cause or None,
        }
        for name, source in state.endpoint_set.sources.items()
    ]


def _reloads(state: State, observation: Observation) -> dict[str, Any]:
    stats = state.stats
    return {
        **stats.results,
        "waiting": state.generations.why or None,
        "last": [
            {
                "at": _moment(reload.at, observation),
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


def _nginx(state: State, observation: Observation) -> dict[str, Any]:
    return {
        "health": state.master.health,
        "pid": state.master.pid or None,
        "generation": state.view.generation or None,
        "restarts": state.stats.master_deaths,
        "worker_deaths": state.stats.worker_deaths,
        "draining": draining(state, observation.is_running),
        "connections": observation.connections,
        "clients": observation.clients,
    }


def draining(state: State, is_running: Callable[[int], bool]) -> list[dict[str, Any]]:
    """
    Return the old generations with running workers; the state is as of the last reload.
    """
    generations = []
    for pids in state.generations.draining:
        left = {pid for pid in pids if is_running(pid)}
        if left:
            generations.append(
                {"workers": len(left), "told": bool(left & state.generations.signalled)}
            )
    return generations


def _moment(at: float | None, observation: Observation) -> str | None:
    """Format an instant of the loop's clock by the current wall clock."""
    return (
        None
        if at is None or at == NEVER
        else format_moment(observation.wall - (observation.now - at))
    )


def _instant(epoch: float | None) -> str | None:
    return None if epoch is None else format_moment(epoch)
