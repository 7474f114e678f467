"""
From what is known to the plan: who serves, with which share, and what a client is told.

Theory: whatever the tags ask for, what comes out is a set that nginx accepts and that serves:
endpoints which drain serve when there is nobody else, backups when no other endpoint is ready, and
where all are backups none is.  A method that knows no backups gets them only when they are needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from supervisor.core.balancing_methods import METHODS
from supervisor.core.endpoint_set import Targets
from supervisor.core.model import ONCE_READY, Condition, Endpoint, Mode, Plan, Share

_EQUAL = Share()


@dataclass(frozen=True, slots=True)
class Terms:
    """
    What the plan depends on besides the endpoints.

    `sunset` is the deadline in epoch seconds; `is_lame` says that it is near: requests are still
    served, but nobody is to begin to rely on it.
    """

    method: str
    fail_open: bool
    sunset: float | None = None
    is_lame: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """
    The plan, and what an operator should know about how it came about.
    """

    plan: Plan
    remarks: tuple[str, ...] = ()


def choose(targets: Targets, terms: Terms) -> Choice:
    """
    Make the plan: who is to serve, or why nobody is.
    """
    serving, mode, remarks = _serving(targets, fail_open=terms.fail_open)
    shares = {each: targets.shares[each] for each in serving if each in targets.shares}
    if shares:
        serving, shares = _settled(serving, shares, terms.method)
    remarks += _contradictions(targets, terms.method)
    sunset = None if terms.sunset is None else int(terms.sunset)
    asked = tuple((each, shares[each]) for each in serving if each in shares)
    return Choice(Plan(serving, Mode.DRAINING if terms.is_lame else mode, asked, sunset), remarks)


def _serving(
    targets: Targets, *, fail_open: bool
) -> tuple[tuple[Endpoint, ...], Mode, tuple[str, ...]]:
    """Find who is to serve, or why nobody is."""
    known, conditions = targets.known, targets.conditions
    if not targets.is_probing:
        up = known
    else:
        up = tuple([each for each in known if conditions.get(each) is Condition.READY])
        if len(up) < len(known):
            up = _excused(targets, up)
    if up:
        return up, Mode.SERVE, ()
    lingering = [each for each in targets.leaving if conditions.get(each) is Condition.READY]
    if lingering:
        return (
            tuple(sorted(lingering)),
            Mode.SERVE,
            ("nothing listed is ready: endpoints that left still serve",),
        )
    once = tuple([each for each in known if conditions.get(each) in ONCE_READY])
    if once and fail_open:
        return once, Mode.SERVE, ("every endpoint fails its probes: serving all the same",)
    if once:
        return (), Mode.UNHEALTHY, ()
    unheard = any(source.endpoints is None for source in targets.sources.values())
    return (), Mode.STARTING if known or unheard else Mode.NO_ENDPOINTS, ()


def _excused(targets: Targets, ready: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """Take back those that only answer too late, when they are more than half."""
    slow = [each for each in targets.known if targets.conditions.get(each) is Condition.SLOW]
    if not slow:
        return ready
    once = sum(targets.conditions.get(each) in ONCE_READY for each in targets.known)
    return tuple(sorted((*ready, *slow[: max(0, len(slow) - once // 2)])))


def _settled(
    serving: tuple[Endpoint, ...], shares: Mapping[Endpoint, Share], method: str
) -> tuple[tuple[Endpoint, ...], dict[Endpoint, Share]]:
    """Turn what the tags ask for into a set that nginx accepts: weights, and backups or none."""
    staying = tuple([each for each in serving if not shares.get(each, _EQUAL).drain]) or serving
    first = tuple([each for each in staying if not shares.get(each, _EQUAL).backup])
    marked = bool(first) and METHODS[method].takes_backup
    settled = {each: Share(share.weight, share.backup and marked) for each, share in shares.items()}
    chosen = staying if marked else first or staying
    return chosen, {each: share for each, share in settled.items() if share != _EQUAL}


def _contradictions(targets: Targets, method: str) -> tuple[str, ...]:
    """Tell where the tags of all endpoints together ask for what cannot be."""
    asked = targets.shares.values()
    everyone = bool(targets.known) and len(asked) == len(targets.known)
    if everyone and all(share.drain for share in asked):
        return ("every endpoint has the tag lb.drain: it is ignored",)
    if everyone and all(share.backup for share in asked):
        return ("every endpoint has the tag lb.backup: it is ignored",)
    if not METHODS[method].takes_backup and any(share.backup for share in asked):
        return (f"LB_METHOD={method} knows no backups: they serve while nobody else is ready",)
    return ()
