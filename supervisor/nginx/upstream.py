"""
The servers of an upstream: in which order they stand, and with which words.

A reload makes nginx forget whom it served last, so their order turns; and what a plan asks for must
never be more than nginx can take, or it would serve nothing at all.
"""

from supervisor.core.balancing_methods import METHODS
from supervisor.core.model import Endpoint, Plan, Share

#: Who is who depends on the order of the servers: it must not turn.

#: Ten thousand such weights still add up to what nginx can count.
_HEAVIEST = 65535


def server_lines(plan: Plan, turn: int, method: str) -> list[str]:
    """
    Return the words of each `server` line, in the order of this turn.

    nginx wants a server that is no backup, whatever else there is.
    """
    how = METHODS[method]
    endpoints = plan.endpoints if how.keeps_order else rotated(plan.endpoints, turn)
    if not plan.shares:
        return [f"{each} max_fails=0" for each in endpoints]
    backups = {each for each, share in plan.shares if share.backup}
    marks = how.takes_backup and not backups.issuperset(endpoints)
    shares = dict(plan.shares)
    if how.max_weight:
        shares = _within_max_weight(shares, len(endpoints), how.max_weight)
    asked = {each: _asked(share, marks=marks) for each, share in shares.items()}
    return [f"{each} {asked.get(each, 'max_fails=0')}" for each in endpoints]


def rotated(endpoints: tuple[Endpoint, ...], turn: int) -> tuple[Endpoint, ...]:
    """
    Begin the list somewhere else each turn.
    """
    start = turn % len(endpoints) if endpoints else 0
    return endpoints[start:] + endpoints[:start]


def _within_max_weight(
    shares: dict[Endpoint, Share], servers: int, most: int
) -> dict[Endpoint, Share]:
    """Make weights smaller in proportion where they add up to more than the method can take."""
    asked = [min(max(1, share.weight), _HEAVIEST) for share in shares.values()]
    units = sum(asked) + servers - len(asked)
    if units <= most:
        return shares
    smaller = [max(1, weight * most // units) for weight in asked]
    return {
        each: share._replace(weight=weight)
        for (each, share), weight in zip(shares.items(), smaller, strict=True)
    }


def _asked(share: Share, *, marks: bool) -> str:
    weight = f"weight={min(share.weight, _HEAVIEST)} " if share.weight > 1 else ""
    return f"{weight}max_fails=0{' backup' if share.backup and marks else ''}"
