"""
From what is known to the plan: who serves, with which share, and what a client is told.

Theory: whatever the tags ask for, what comes out is a set that nginx accepts and that serves:
endpoints which drain serve when there is nobody else, backups when no other endpoint is ready, and
where all are backups none is.  A method that knows no backups gets them only when they are needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from supervisor.core.balancing_methods import METHODS
from supervisor.core.endpoint_set import EndpointSet
from supervisor.core.model import ONCE_READY, Endpoint, HealthState, Mode, Plan, ServerOptions

_EQUAL = ServerOptions()


@dataclass(frozen=True, slots=True)
class BalancingSettings:
    """
    What the plan depends on besides the endpoints.

    `sunset` is the deadline in epoch seconds; `in_lame_duck` says that it is near: requests are still
    served, but nobody is to begin to rely on it.
    """

    method: str
    fail_open: bool
    sunset: float | None = None
    in_lame_duck: bool = False


@dataclass(frozen=True, slots=True)
class Balanced:
    """
    The plan, and what an operator should know about how it came about.
    """

    plan: Plan
    warnings: tuple[str, ...] = ()


def balance(endpoint_set: EndpointSet, terms: BalancingSettings) -> Balanced:
    """
    Make the plan: who is to serve, or why nobody is.
    """
    serving, mode, warnings = _serving(endpoint_set, fail_open=terms.fail_open)
    server_options = {
        each: endpoint_set.server_options[each]
        for each in serving
        if each in endpoint_set.server_options
    }
    if server_options:
        serving, server_options = _settled(serving, server_options, terms.method)
    warnings += _contradictions(endpoint_set, terms.method)
    sunset = None if terms.sunset is None else int(terms.sunset)
    asked = tuple((each, server_options[each]) for each in serving if each in server_options)
    return Balanced(
        Plan(serving, Mode.DRAINING if terms.in_lame_duck else mode, asked, sunset), warnings
    )


def _serving(
    endpoint_set: EndpointSet, *, fail_open: bool
) -> tuple[tuple[Endpoint, ...], Mode, tuple[str, ...]]:
    """Find who is to serve, or why nobody is."""
    known, health_states = endpoint_set.known, endpoint_set.health_states
    if not endpoint_set.is_probing:
        up = known
    else:
        up = tuple([each for each in known if health_states.get(each) is HealthState.READY])
        if len(up) < len(known):
            up = _excused(endpoint_set, up)
    if up:
        return up, Mode.SERVE, ()
    lingering = [
        each for each in endpoint_set.leaving if health_states.get(each) is HealthState.READY
    ]
    if lingering:
        return (
            tuple(sorted(lingering)),
            Mode.SERVE,
            ("nothing listed is ready: endpoints that left still serve",),
        )
    once = tuple([each for each in known if health_states.get(each) in ONCE_READY])
    if once and fail_open:
        return once, Mode.SERVE, ("every endpoint fails its probes: serving all the same",)
    if once:
        return (), Mode.UNHEALTHY, ()
    unheard = any(source.endpoints is None for source in endpoint_set.sources.values())
    return (), Mode.STARTING if known or unheard else Mode.NO_ENDPOINTS, ()


def _excused(endpoint_set: EndpointSet, ready: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """Take back those that only answer too late, when they are more than half."""
    slow = [
        each
        for each in endpoint_set.known
        if endpoint_set.health_states.get(each) is HealthState.SLOW
    ]
    if not slow:
        return ready
    once = sum(endpoint_set.health_states.get(each) in ONCE_READY for each in endpoint_set.known)
    return tuple(sorted((*ready, *slow[: max(0, len(slow) - once // 2)])))


def _settled(
    serving: tuple[Endpoint, ...], server_options: Mapping[Endpoint, ServerOptions], method: str
) -> tuple[tuple[Endpoint, ...], dict[Endpoint, ServerOptions]]:
    """Turn what the tags ask for into a set that nginx accepts: weights, and backups or none."""
    staying = (
        tuple([each for each in serving if not server_options.get(each, _EQUAL).drain]) or serving
    )
    first = tuple([each for each in staying if not server_options.get(each, _EQUAL).backup])
    marked = bool(first) and METHODS[method].takes_backup
    settled = {
        each: ServerOptions(options.weight, options.backup and marked)
        for each, options in server_options.items()
    }
    chosen = staying if marked else first or staying
    return chosen, {each: options for each, options in settled.items() if options != _EQUAL}


def _contradictions(endpoint_set: EndpointSet, method: str) -> tuple[str, ...]:
    """Tell where the tags of all endpoints together ask for what cannot be."""
    asked = endpoint_set.server_options.values()
    everyone = bool(endpoint_set.known) and len(asked) == len(endpoint_set.known)
    if everyone and all(options.drain for options in asked):
        return ("every endpoint has the tag lb.drain: it is ignored",)
    if everyone and all(options.backup for options in asked):
        return ("every endpoint has the tag lb.backup: it is ignored",)
    if not METHODS[method].takes_backup and any(options.backup for options in asked):
        return (f"LB_METHOD={method} knows no backups: they serve while nobody else is ready",)
    return ()
