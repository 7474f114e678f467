"""
Whether a series is flat: a criterion that detects a small leak and tolerates a busy machine.

A leak grows with every change, so growth is measured per change and not per minute.  The first
half of a run is ignored, since caches fill and pools grow to their size.  A Theil-Sen line is
fitted to the second half: the median of the slopes between all pairs of points, which neither a
few high samples nor a single step affects.  The rise of the line over the second half must stay
below an allowance: an amount once, for noise and a last step, and an amount per change.  One
object leaked per change is well above that if the second half has a few hundred changes.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

#: The number of points for the line: each is the median of an equal part of the samples.
_POINTS = 120


@dataclass(frozen=True, slots=True)
class Allowance:
    """
    The allowed rise of the line over the second half, in the unit of the series.
    """

    once: float
    per_change: float


@dataclass(frozen=True, slots=True)
class Judged:
    """
    The summary of a series: medians of the first and last tenth, the maximum, and the line.
    """

    first: float
    last: float
    most: float
    per_change: float
    risen: float
    allowed: float

    @property
    def is_flat(self) -> bool:
        """
        Whether the rise is within the allowance; a fall is not a leak.
        """
        return self.risen <= self.allowed


def judged(changes: Sequence[int], values: Sequence[float], allowance: Allowance) -> Judged:
    """
    Evaluate a series by the number of changes at each sample.
    """
    half = len(values) // 2
    later = list(zip(changes[half:], values[half:], strict=True))
    slope = _slope(_thinned(later))
    made = changes[-1] - changes[half]
    tenth = max(1, len(values) // 10)
    return Judged(
        first=statistics.median(values[:tenth]),
        last=statistics.median(values[-tenth:]),
        most=max(values),
        per_change=slope,
        risen=slope * made,
        allowed=allowance.once + allowance.per_change * made,
    )


def _slope(points: Sequence[tuple[float, float]]) -> float:
    slopes = [
        (other[1] - one[1]) / (other[0] - one[0])
        for one, other in combinations(points, 2)
        if other[0] != one[0]
    ]
    return statistics.median(slopes) if slopes else 0.0


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Return the medians of neighbours, to reduce the number of points."""
    size = -(-len(points) // _POINTS)
    groups = [points[at : at + size] for at in range(0, len(points), size or 1)]
    return [
        (statistics.median(x for x, _ in group), statistics.median(y for _, y in group))
        for group in groups
    ]
