"""
Whether a series is flat: a rule that a small leak breaks and a busy machine does not.

Theory: what leaks, leaks with every change, so growth is told per change and not per minute.  The
first half of a run is left out, in it caches fill and pools reach their size.  Through the second
half a line is laid by Theil and Sen: the median of the slopes between all pairs of points, which
heeds neither a few high samples nor a single step.  What the line rises over the second half must
stay under an allowance: so much once, for noise and a last step, and so much per change.  One
thing leaked per change is well above that once the second half has a few hundred changes.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

#: Points that a line is laid through: each is the median of its share of the samples.
_POINTS = 120


@dataclass(frozen=True, slots=True)
class Allowance:
    """
    How much a line may rise over the second half, in the unit of the series.
    """

    once: float
    per_change: float


@dataclass(frozen=True, slots=True)
class Judged:
    """
    A series in short: the medians of the first tenth and the last, the most, and the line.
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
        Whether the line rises no more than it may; falling is no leak.
        """
        return self.risen <= self.allowed


def judged(changes: Sequence[int], values: Sequence[float], allowance: Allowance) -> Judged:
    """
    Judge a series by the number of changes that had been made at each sample.
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
    """Take the medians of neighbours where there are more points than are needed."""
    size = -(-len(points) // _POINTS)
    groups = [points[at : at + size] for at in range(0, len(points), size or 1)]
    return [
        (statistics.median(x for x, _ in group), statistics.median(y for _, y in group))
        for group in groups
    ]
