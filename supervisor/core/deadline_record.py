"""
Where the deadline stands at a start: anchored at the first start, kept in a small record.

The same rule for nginx and for any command under `exec`.  Standard library only and good for Python
3.9, because it also ships in the one file for the images of replicas; named tuples, because
`dataclasses` would be a tenth of that program's memory.
"""

from __future__ import annotations

from typing import NamedTuple

from supervisor.core import durations


class DeadlineRecord(NamedTuple):
    """
    What must survive a restart: the anchor of the deadline.  Times are epoch seconds.

    The origin tells which setting the deadline came from, so that a changed TTL is noticed; the
    allocation keeps a sticky disk from ending a new allocation with an old one's deadline.
    """

    allocation: str
    first_start: float
    origin: str
    deadline: float | None
    extended_to: float | None = None

    @property
    def end(self) -> float | None:
        """
        The deadline that counts, None where there is no limit.
        """
        return self.deadline if self.extended_to is None else self.extended_to


class DeadlineSettings(NamedTuple):
    """
    What the settings ask for: a lifetime in seconds, or an instant, which wins over it.
    """

    ttl: float | None
    deadline: float | None
    allocation: str

    @property
    def origin(self) -> str:
        """
        Which setting the deadline comes from, as the record says it.
        """
        if self.deadline is not None:
            return f"DEADLINE={durations.format_instant(self.deadline)}"
        return "TTL=never" if self.ttl is None else f"TTL={durations.format_span(self.ttl)}"

    def end(self, first_start: float) -> float | None:
        """
        Return the deadline of what started then.
        """
        if self.deadline is not None:
            return self.deadline
        return None if self.ttl is None else first_start + self.ttl


def apply_duration_alias(given: dict[str, str]) -> list[str]:
    """
    Let DURATION stand for a TTL that is not set; return a mistake where both are set and differ.
    """
    if "DURATION" in given and given.setdefault("TTL", given["DURATION"]) != given["DURATION"]:
        both = f"TTL={given['TTL']!r} and DURATION={given['DURATION']!r}"
        return [f"{both} differ: set only one, DURATION is an alias of TTL"]
    return []


class ResolvedDeadline(NamedTuple):
    """
    Where the deadline stands at a start: the record to keep, and what to say about the old one.

    `remaining` is in seconds, None where there is no limit.
    """

    record: DeadlineRecord
    remaining: float | None
    warning: str = ""


def resolve_deadline(
    wish: DeadlineSettings, found: DeadlineRecord | None, wall: float
) -> ResolvedDeadline:
    """
    Decide the deadline at a start, from the settings and what an earlier start recorded.

    `wall` is the epoch now.  A record of another allocation does not count (a sticky disk carries
    it over); a changed TTL or DEADLINE counts from the first start and drops an extension.
    """
    warning = ""
    if found is not None and found.allocation != wish.allocation:
        warning, found = "the recorded deadline belongs to another allocation; starting anew", None
    if found is not None and found.first_start > wall + 1:
        warning, found = "the recorded first start lies in the future; starting anew", None
    if found is not None and found.origin == wish.origin and not _follows(found, wish):
        warning, found = "the recorded deadline contradicts its own origin; starting anew", None
    if found is not None and found.origin == wish.origin:
        record = found
    else:
        first = found.first_start if found else wall
        if found is not None:
            warning = f"{found.origin} became {wish.origin}; counting from the first start"
        record = DeadlineRecord(wish.allocation, first, wish.origin, wish.end(first))
    return ResolvedDeadline(record, None if record.end is None else record.end - wall, warning)


def _follows(record: DeadlineRecord, wish: DeadlineSettings) -> bool:
    """Tell whether the deadline comes from where the record says, to the second it says it by."""
    expected = wish.end(record.first_start)
    if expected is None or record.deadline is None:
        return expected is None and record.deadline is None
    return abs(record.deadline - expected) <= 1
