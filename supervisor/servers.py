"""
The servers of an upstream: in which order they stand, and with which words.

A reload makes nginx forget whom it served last, so their order turns; and what a plan asks for must
never be more than nginx can take, or it would serve nothing at all.
"""

from supervisor.model import WITH_BACKUP, Endpoint, Plan, Share

#: Who is who depends on the order of the servers: it must not turn.
_ORDERED = frozenset({"ip_hash"})

#: Ten thousand such weights still add up to what nginx can count.
_HEAVIEST = 65535

#: `hash` keeps 160 points for each unit of weight, in every worker: so many units take 0.1 s and
#: 13 MB, and the weights that tags may ask of a hundred endpoints would take seconds and 500 MB.
_MOST_UNITS = 4000


def server_lines(plan: Plan, turn: int, method: str) -> list[str]:
    """
    Return the words of each `server` line, in the order of this turn.

    nginx wants a server that is no backup, whatever else there is.
    """
    endpoints = plan.endpoints if method in _ORDERED else rotated(plan.endpoints, turn)
    if not plan.shares:
        return [f"{each} max_fails=0" for each in endpoints]
    backups = {each for each, share in plan.shares if share.backup}
    marks = method in WITH_BACKUP and not backups.issuperset(endpoints)
    shares = dict(plan.shares)
    if method == "hash":
        shares = _within_the_units(shares, len(endpoints))
    asked = {each: _asked(share, marks=marks) for each, share in shares.items()}
    return [f"{each} {asked.get(each, 'max_fails=0')}" for each in endpoints]


def rotated(endpoints: tuple[Endpoint, ...], turn: int) -> tuple[Endpoint, ...]:
    """
    Begin the list somewhere else each turn.
    """
    start = turn % len(endpoints) if endpoints else 0
    return endpoints[start:] + endpoints[:start]


def _within_the_units(shares: dict[Endpoint, Share], servers: int) -> dict[Endpoint, Share]:
    """Make weights smaller in proportion where they add up to more than what `hash` can take."""
    asked = [min(max(1, share.weight), _HEAVIEST) for share in shares.values()]
    units = sum(asked) + servers - len(asked)
    if units <= _MOST_UNITS:
        return shares
    smaller = [max(1, weight * _MOST_UNITS // units) for weight in asked]
    return {
        each: share._replace(weight=weight)
        for (each, share), weight in zip(shares.items(), smaller, strict=True)
    }


def _asked(share: Share, *, marks: bool) -> str:
    weight = f"weight={min(share.weight, _HEAVIEST)} " if share.weight > 1 else ""
    return f"{weight}max_fails=0{' backup' if share.backup and marks else ''}"
