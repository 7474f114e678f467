"""
Compares a run with the last saved one, measure by measure.

A measure has moved if it differs by more than the noise of either run.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.findings import Finding, Unit, Value


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    One measure in the last saved run and in this one; None where a run does not have it.
    """

    measure: str
    unit: Unit
    last: Value | None
    this: Value | None
    higher_is_better: bool = False

    @property
    def difference(self) -> float | None:
        """The number of this run minus that of the last one."""
        if self.last is None or self.this is None:
            return None
        return self.this.number - self.last.number

    @property
    def has_moved(self) -> bool:
        """Whether the difference exceeds the noise of both runs."""
        if self.last is None or self.this is None or self.difference is None:
            return False
        return abs(self.difference) > max(self.last.noise, self.this.noise)

    @property
    def is_better(self) -> bool:
        """Whether this run's number is on the better side of the last one's."""
        return self.difference is not None and (self.difference > 0) is self.higher_is_better


def compare(last: Iterable[Finding], this: Iterable[Finding]) -> list[Comparison]:
    """
    Pair the measures of two runs by name: those of this run in its order, then those that it lacks.
    """
    before = {finding.measure: finding for finding in last}
    found = []
    for now in this:
        then = before.pop(now.measure, None)
        # In another unit it is another measure.
        value = then.ours if then is not None and then.unit is now.unit else None
        found.append(Comparison(now.measure, now.unit, value, now.ours, now.higher_is_better))
    gone = [
        Comparison(then.measure, then.unit, then.ours, None, then.higher_is_better)
        for then in before.values()
    ]
    return found + gone
