"""
The servers of an upstream: in which order they stand, and with which words.

A reload makes nginx forget whom it served last, so their order turns; and what a plan asks for must
never be more than nginx can take, or it would serve nothing at all.
"""

from supervisor.core.balancing_methods import METHODS
from supervisor.core.model import Endpoint, Plan, ServerOptions

#: Who is who depends on the order of the servers: it must not turn.

#: Ten thousand such weights still add up to what nginx can count.
_HEAVIEST = 65535


def server_lines(plan: Plan, rotation: int, method: str) -> list[str]:
    """
    Return the words of each `server` line, in the order of this turn.

    nginx wants a server that is no backup, whatever else there is.
    """
    how = METHODS[method]
    endpoints = plan.endpoints if how.keeps_order else rotated(plan.endpoints, rotation)
    if not plan.server_options:
        return [f"{each} max_fails=0" for each in endpoints]
    backups = {each for each, options in plan.server_options if options.backup}
    marks = how.takes_backup and not backups.issuperset(endpoints)
    server_options = dict(plan.server_options)
    if how.max_weight:
        server_options = _within_max_weight(server_options, len(endpoints), how.max_weight)
    asked = {each: _parameters(options, marks=marks) for each, options in server_options.items()}
    return [f"{each} {asked.get(each, 'max_fails=0')}" for each in endpoints]


def rotated(endpoints: tuple[Endpoint, ...], rotation: int) -> tuple[Endpoint, ...]:
    """
    Begin the list somewhere else each turn.
    """
    start = rotation % len(endpoints) if endpoints else 0
    return endpoints[start:] + endpoints[:start]


def _within_max_weight(
    server_options: dict[Endpoint, ServerOptions], servers: int, most: int
) -> dict[Endpoint, ServerOptions]:
    """Make weights smaller in proportion where they add up to more than the method can take."""
    asked = [min(max(1, options.weight), _HEAVIEST) for options in server_options.values()]
    units = sum(asked) + servers - len(asked)
    if units <= most:
        return server_options
    smaller = [max(1, weight * most // units) for weight in asked]
    return {
        each: options._replace(weight=weight)
        for (each, options), weight in zip(server_options.items(), smaller, strict=True)
    }


def _parameters(options: ServerOptions, *, marks: bool) -> str:
    weight = f"weight={min(options.weight, _HEAVIEST)} " if options.weight > 1 else ""
    return f"{weight}max_fails=0{' backup' if options.backup and marks else ''}"
