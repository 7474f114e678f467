"""
The cause of a lost request: a fault of a kind that can cost such a request at that instant.

What counts is the instant at which the client lost the request, not how long it was under way: a
request that an early fault did not harm is not explained by it later.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.support.storm.faults import NOTICED, Cost, Kind, Shape

#: How the client's own stall loses requests: it uses a connection that was closed meanwhile.
_OF_STALLS = frozenset({Shape.KEPT_CUT, Shape.SILENT})

#: A request without an answer in 30 s is explained only by stalls that took this much of it.
_MOST_OF_IT = 15.0

#: Seconds within which a start succeeds or is given up: START_TIMEOUT, and the end of the program.
_LONGEST_START = 14.0

#: The addresses of nginx's own sockets in the list of what was tried.
_HOP = "unix:"


@dataclass(frozen=True, slots=True)
class Loss:
    """
    A lost request: the instants of sending and of the loss, and the addresses that nginx tried.
    """

    client: str
    sent: float
    ended: float
    shape: Shape
    tried: tuple[str, ...] = ()
    detail: str = ""

    def __str__(self) -> str:
        tried = f" by {', '.join(self.tried)}" if self.tried else ""
        took = self.ended - self.sent
        return f"{self.client} after {took:.3f} s: {self.shape}{tried} ({self.detail[:100]})"


@dataclass(frozen=True, slots=True)
class Happened:
    """
    A fault as it was: it began, its effect was there (`done`), and it ended.
    """

    kind: Kind
    began: float
    done: float
    ended: float
    replicas: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Stall:
    """
    A time in which the client's own loop did not run, as it measured it.
    """

    began: float
    ended: float

    def within(self, began: float, ended: float) -> float:
        """
        Return the part of it, in seconds, that lies between these instants.
        """
        return max(0.0, min(ended, self.ended) - max(began, self.began))


class Causes:
    """
    All faults of a storm, with the times in which they explain losses.
    """

    def __init__(self, faults: Sequence[Happened], stalls: Sequence[Stall]) -> None:
        self._stalls = stalls
        self._windows = [
            (fault, cost, until_of(fault, cost, faults, stalls))
            for fault in faults
            for cost in fault.kind.costs
        ]

    def of(self, loss: Loss) -> str:
        """
        Return the name of the cause, empty if nothing explains the loss.
        """
        if loss.shape is Shape.WRONG:
            return ""
        replicas = [address for address in loss.tried if not address.startswith(_HOP)]
        suffering: dict[str, str] = {}
        for fault, cost, until in self._windows:
            is_passed_on = len(replicas) < len(loss.tried)
            if loss.shape not in cost.shapes or (cost.by_hop and not is_passed_on):
                continue
            if not fault.began <= loss.ended <= until:
                continue
            if not cost.by_replica:
                return fault.kind.name
            suffering.update(dict.fromkeys(fault.replicas, fault.kind.name))
        deciding = replicas[-1:] if loss.shape is Shape.TRUNCATED else replicas
        if deciding and all(address in suffering for address in deciding):
            return suffering[deciding[-1]]
        return "the client stalled" if _is_of_stalls(loss, self._stalls) else ""


def until_of(
    fault: Happened, cost: Cost, faults: Iterable[Happened], stalls: Sequence[Stall]
) -> float:
    """
    Return the instant until which a fault may have this cost.

    A stall of the machine prolongs it, and so does each fault that slows what would end it.
    """
    until = (fault.ended if cost.lasts else fault.done) + cost.tail
    others = sorted((each for each in faults if each is not fault), key=lambda each: each.began)
    for each in others:
        # What slows has tails of its own: a killed supervisor starts again after its restart.
        ended = each.ended + max((c.tail for c in each.kind.costs if c.waits), default=0.0)
        if cost.waits in each.kind.slows and each.began <= until and ended >= fault.began:
            until = max(until, ended + each.kind.recovers + cost.tail)
    if cost.by_replica:
        until = min(until, fault.ended + cost.tail)  # it is well again
    for each in others:
        if "notice" in each.kind.slows and each.began <= until and each.ended >= fault.began:
            until = max(until, each.ended + NOTICED)
    return until + sum(stall.within(fault.began, until) for stall in stalls)


def _is_of_stalls(loss: Loss, stalls: Iterable[Stall]) -> bool:
    if loss.shape not in _OF_STALLS:
        return False
    if loss.shape is Shape.SILENT:
        return sum(stall.within(loss.sent, loss.ended) for stall in stalls) >= _MOST_OF_IT
    return any(stall.within(loss.sent - 1.0, loss.ended) > 0 for stall in stalls)


def exit_cause_of(began: float, exited: Happened, faults: Iterable[Happened]) -> str:
    """
    Return the fault that explains why a run that began then has ended: a broken disk or a stopped
    nginx of an earlier run at its start, empty without one.
    """
    if exited.began - began > _LONGEST_START:
        return ""
    for fault in faults:
        is_of_start = "start" in fault.kind.slows and fault.kind.part in {"disk", "nginx"}
        if is_of_start and began - 1.0 <= fault.ended and fault.began <= exited.began:
            return fault.kind.name
    return ""
