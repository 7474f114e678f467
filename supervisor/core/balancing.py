"""
Compute the plan: the endpoints that serve, their server options and the mode.

Theory: for any combination of tags the result is a set that nginx accepts and that serves.
Draining endpoints serve when there are no others, backups serve when no other endpoint is ready,
and if all endpoints are backups, none is treated as one.  With a method that does not support
backups, backups are used only while no other endpoint is ready.
"""

from collections.abc import Mapping

from supervisor.core.balancing_methods import METHODS
from supervisor.core.endpoint_set import EndpointSet
from supervisor.core.model import ONCE_READY, Endpoint, HealthState, Mode, Plan, ServerOptions
from supervisor.core.values import value_class

_DEFAULT = ServerOptions()


@value_class(frozen=True, slots=True)
class BalancingSettings:
    """
    The inputs of the plan besides the endpoints.

    `sunset` is the deadline in epoch seconds.  `in_lame_duck` means that it is near: requests are
    still served, but readiness fails so that no new traffic is sent here.
    """

    method: str
    fail_open: bool
    sunset: float | None = None
    in_lame_duck: bool = False


@value_class(frozen=True, slots=True)
class Balanced:
    """
    The plan, and warnings for the operator about the endpoints it was made from.
    """

    plan: Plan
    warnings: tuple[str, ...] = ()


def balance(endpoint_set: EndpointSet, settings: BalancingSettings) -> Balanced:
    """
    Make the plan: the endpoints that serve, or the reason why none does.
    """
    serving, mode, warnings = _select_serving(endpoint_set, fail_open=settings.fail_open)
    server_options = {
        each: endpoint_set.server_options[each]
        for each in serving
        if each in endpoint_set.server_options
    }
    if server_options:
        serving, server_options = _apply_options(serving, server_options, settings.method)
    warnings += _tag_warnings(endpoint_set, settings.method)
    sunset = None if settings.sunset is None else int(settings.sunset)
    options = tuple((each, server_options[each]) for each in serving if each in server_options)
    return Balanced(
        Plan(serving, Mode.DRAINING if settings.in_lame_duck else mode, options, sunset), warnings
    )


def _select_serving(
    endpoint_set: EndpointSet, *, fail_open: bool
) -> tuple[tuple[Endpoint, ...], Mode, tuple[str, ...]]:
    """Return the endpoints that serve, the mode and warnings."""
    known, health_states = endpoint_set.known, endpoint_set.health_states
    if not endpoint_set.is_probing:
        ready = known
    else:
        ready = tuple([each for each in known if health_states.get(each) is HealthState.READY])
        if len(ready) < len(known):
            ready = _with_slow(endpoint_set, ready)
    if ready:
        return ready, Mode.SERVE, ()
    lingering = [
        each for each in endpoint_set.leaving if health_states.get(each) is HealthState.READY
    ]
    if lingering:
        return (
            tuple(sorted(lingering)),
            Mode.SERVE,
            ("no listed endpoint is ready; removed endpoints still serve",),
        )
    once_ready = tuple([each for each in known if health_states.get(each) in ONCE_READY])
    if once_ready and fail_open:
        unprobed = _ready_before_restart(endpoint_set)
        if unprobed:
            return tuple([e for e in known if e in once_ready or e in unprobed]), Mode.SERVE, ()
        return once_ready, Mode.SERVE, ("all endpoints fail health checks; failing open",)
    if once_ready:
        return (), Mode.UNHEALTHY, ()
    is_incomplete = any(source.endpoints is None for source in endpoint_set.sources.values())
    return (), Mode.STARTING if known or is_incomplete else Mode.NO_ENDPOINTS, ()


def _ready_before_restart(endpoint_set: EndpointSet) -> frozenset[Endpoint]:
    """
    Return the endpoints that an earlier process found ready and whose first probe has not ended.

    After a restart a dead endpoint refuses its first probe at once, before a live one passes it:
    served alone, it would get every request.
    """
    return frozenset(
        each
        for each in endpoint_set.was_ready.intersection(endpoint_set.known)
        if endpoint_set.health_states.get(each, HealthState.UNKNOWN) is HealthState.UNKNOWN
    )


def _with_slow(endpoint_set: EndpointSet, ready: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """Add slow endpoints until at most half of those that were once ready are left out."""
    slow = [
        each
        for each in endpoint_set.known
        if endpoint_set.health_states.get(each) is HealthState.SLOW
    ]
    if not slow:
        return ready
    once_ready = sum(
        endpoint_set.health_states.get(each) in ONCE_READY for each in endpoint_set.known
    )
    return tuple(sorted((*ready, *slow[: max(0, len(slow) - once_ready // 2)])))


def _apply_options(
    serving: tuple[Endpoint, ...], server_options: Mapping[Endpoint, ServerOptions], method: str
) -> tuple[tuple[Endpoint, ...], dict[Endpoint, ServerOptions]]:
    """Reduce the requested options to a set that nginx accepts: weights, and backups or none."""
    active = (
        tuple([each for each in serving if not server_options.get(each, _DEFAULT).drain]) or serving
    )
    primary = tuple([each for each in active if not server_options.get(each, _DEFAULT).backup])
    has_backups = bool(primary) and METHODS[method].takes_backup
    applied = {
        each: ServerOptions(options.weight, options.backup and has_backups)
        for each, options in server_options.items()
    }
    chosen = active if has_backups else primary or active
    return chosen, {each: options for each, options in applied.items() if options != _DEFAULT}


def _tag_warnings(endpoint_set: EndpointSet, method: str) -> tuple[str, ...]:
    """Return warnings about tags of all endpoints together that cannot be applied."""
    requested = endpoint_set.server_options.values()
    all_tagged = bool(endpoint_set.known) and len(requested) == len(endpoint_set.known)
    if all_tagged and all(options.drain for options in requested):
        return ("all endpoints have the tag lb.drain; ignoring it",)
    if all_tagged and all(options.backup for options in requested):
        return ("all endpoints have the tag lb.backup; ignoring it",)
    if not METHODS[method].takes_backup and any(options.backup for options in requested):
        reason = "they serve only while no other endpoint is ready"
        return (f"LB_METHOD={method} does not support backups; {reason}",)
    return ()
