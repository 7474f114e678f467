"""
The `server` lines of an upstream: their order and their parameters.

A reload resets nginx's position in the list of servers, so the order is rotated.  Parameters are
limited to values that nginx accepts, because it rejects the whole configuration otherwise.
"""

from supervisor.core.balancing_methods import METHODS
from supervisor.core.model import Endpoint, Plan, ServerOptions

#: 10,000 servers of this weight still add up to a number that nginx can hold.
_MAX_WEIGHT = 65535


def server_lines(plan: Plan, rotation: int, method: str) -> list[str]:
    """
    Return the arguments of each `server` line, in the order of this rotation.

    When all servers are backups none is marked so: nginx requires one that is not.
    """
    balancing = METHODS[method]
    endpoints = plan.endpoints if balancing.keeps_order else rotated(plan.endpoints, rotation)
    if not plan.server_options:
        return [f"{each} max_fails=0" for each in endpoints]
    backups = {each for each, options in plan.server_options if options.backup}
    marks_backups = balancing.takes_backup and not backups.issuperset(endpoints)
    server_options = dict(plan.server_options)
    if balancing.max_weight:
        server_options = _within_max_weight(server_options, len(endpoints), balancing.max_weight)
    parameters = {
        each: _parameters(options, marks_backups=marks_backups)
        for each, options in server_options.items()
    }
    return [f"{each} {parameters.get(each, 'max_fails=0')}" for each in endpoints]


def rotated(endpoints: tuple[Endpoint, ...], rotation: int) -> tuple[Endpoint, ...]:
    """
    Return the endpoints starting from another one for each `rotation`.
    """
    start = rotation % len(endpoints) if endpoints else 0
    return endpoints[start:] + endpoints[:start]


def _within_max_weight(
    server_options: dict[Endpoint, ServerOptions], servers: int, max_total: int
) -> dict[Endpoint, ServerOptions]:
    """Scale weights down in proportion when their sum exceeds `max_total`; none falls below 1."""
    weights = [min(max(1, options.weight), _MAX_WEIGHT) for options in server_options.values()]
    total = sum(weights) + servers - len(weights)
    if total <= max_total:
        return server_options
    scaled = [max(1, weight * max_total // total) for weight in weights]
    return {
        each: options._replace(weight=weight)
        for (each, options), weight in zip(server_options.items(), scaled, strict=True)
    }


def _parameters(options: ServerOptions, *, marks_backups: bool) -> str:
    weight = f"weight={min(options.weight, _MAX_WEIGHT)} " if options.weight > 1 else ""
    return f"{weight}max_fails=0{' backup' if options.backup and marks_backups else ''}"
