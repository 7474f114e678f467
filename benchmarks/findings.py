"""
Measured values as data: a number with its noise, the goal, and the same of the peers.

The noise is what another run of the same code may differ by: the spread of the rounds, or a share
of the value where that is larger or the value was measured once.
"""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

#: The least noise, as a share of the value: of several rounds, and of a few.
_SHARE = 0.05
_SHARE_OF_FEW = 0.15
_FEW = 4

#: Of memory: the same in each round, on any load.
STEADY = 0.02


class Unit(StrEnum):
    """
    The unit of a finding's numbers.
    """

    MS = "ms"
    US = "us"
    SECONDS = "s"
    MB = "MB"
    PERCENT = "%"
    TIMES = "times"
    RATE = "requests/s"
    COUNT = "count"


@dataclass(frozen=True, slots=True)
class Value:
    """
    A number, its noise in the same unit, and the number of rounds.
    """

    number: float
    noise: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Peer:
    """
    The same measure of another program; a text where there is no number, such as "never".
    """

    name: str
    found: float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    One measure of ours, the goal, the peers, and the limit: a bound, such as the packages alone.
    """

    measure: str
    unit: Unit
    ours: Value
    goal: float | None = None
    higher_is_better: bool = False
    peers: tuple[Peer, ...] = ()
    limit: Peer | None = None

    @property
    def holds(self) -> bool:
        """Whether the goal is met; what was not measured (NaN) meets none."""
        if self.goal is None:
            return True
        if self.higher_is_better:
            return self.ours.number >= self.goal
        return self.ours.number < self.goal or self.ours.number == self.goal == 0


def median(values: Iterable[float]) -> float:
    """
    Return the median, or NaN for no values.
    """
    found = list(values)
    return statistics.median(found) if found else math.nan


def percentile(values: Iterable[float], share: float) -> float:
    """
    Return the smallest value that `share` percent of all values do not exceed.
    """
    ordered = sorted(values) or [math.nan]
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)]


def middle(values: Iterable[float], scale: float = 1.0, least: float | None = None) -> Value:
    """
    Return the median; its noise is the interquartile range, and `least` a share of the number.
    """
    found = [value * scale for value in values]
    return _value(median(found), percentile(found, 75) - percentile(found, 25), len(found), least)


def tail(values: Iterable[float], scale: float = 1.0) -> Value:
    """
    Return the 99th percentile; its noise is the distance from the 90th.
    """
    found = [value * scale for value in values]
    top = percentile(found, 99)
    return _value(top, top - percentile(found, 90), len(found))


def once(number: float, least: float | None = None) -> Value:
    """
    Return a value that was measured once.
    """
    return _value(number, 0.0, 1, least)


def count(number: int) -> Value:
    """
    Return a number of events, of which each one matters.
    """
    return Value(number, 0.0, 1)


def ratio(ours: Value, other: Value) -> Value:
    """
    Return a quotient of two values; its noise is the sum of both relative ones.
    """
    number = ours.number / other.number if other.number else math.nan
    relative = ours.noise / ours.number + other.noise / other.number if number else math.nan
    return Value(number, number * relative, min(ours.rounds, other.rounds))


def _value(number: float, spread: float, rounds: int, least: float | None = None) -> Value:
    share = least or (_SHARE if rounds >= _FEW else _SHARE_OF_FEW)
    return Value(number, max(spread, share * abs(number)), rounds)
