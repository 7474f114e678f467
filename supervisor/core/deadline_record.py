"""
Resolve the deadline at a start: it counts from the first start, which a small record stores.

Used for nginx and for a command under `exec`.  Standard library only and Python 3.9, because it
also ships in the single file for the images of replicas.  Named tuples, because `dataclasses`
would take a tenth of that program's memory.
"""

from __future__ import annotations

from typing import NamedTuple

from supervisor.core import durations


class DeadlineRecord(NamedTuple):
    """
    The state of the deadline that survives a restart.  Times are epoch seconds.

    `origin` is the setting that the deadline came from, so that a changed TTL is detected.
    `allocation` prevents that a sticky disk ends a new allocation at an old one's deadline.
    `moved_by` is `job` if the job's variable moved the deadline to `extended_to`; `variable` is the
    index of the one that was applied last, which a later move of this task alone keeps.
    """

    allocation: str
    first_start: float
    origin: str
    deadline: float | None
    extended_to: float | None = None
    moved_by: str = ""
    variable: int = 0

    @property
    def end(self) -> float | None:
        """
        The effective deadline, None for no limit.
        """
        return self.deadline if self.extended_to is None else self.extended_to


class DeadlineSettings(NamedTuple):
    """
    The configured lifetime in seconds, or an instant, which takes precedence.
    """

    ttl: float | None
    deadline: float | None
    allocation: str

    @property
    def origin(self) -> str:
        """
        The setting that the deadline comes from, as stored in the record.
        """
        if self.deadline is not None:
            return f"DEADLINE={durations.format_instant(self.deadline)}"
        return "TTL=never" if self.ttl is None else f"TTL={durations.format_span(self.ttl)}"

    def end(self, first_start: float) -> float | None:
        """
        Return the deadline for a first start at that instant, None for no limit.
        """
        if self.deadline is not None:
            return self.deadline
        return None if self.ttl is None else first_start + self.ttl


def apply_duration_alias(given: dict[str, str]) -> list[str]:
    """
    Use DURATION as TTL if TTL is not set; return an error if both are set and differ.
    """
    if "DURATION" in given and given.setdefault("TTL", given["DURATION"]) != given["DURATION"]:
        both = f"TTL={given['TTL']!r} and DURATION={given['DURATION']!r}"
        return [f"{both} differ: set only one, DURATION is an alias of TTL"]
    return []


class ResolvedDeadline(NamedTuple):
    """
    The deadline at a start: the record to save, and a warning about the old record.

    `remaining` is in seconds, None for no limit.
    """

    record: DeadlineRecord
    remaining: float | None
    warning: str = ""


def resolve_deadline(
    settings: DeadlineSettings, found: DeadlineRecord | None, wall: float
) -> ResolvedDeadline:
    """
    Resolve the deadline at a start, from the settings and the record of an earlier start.

    `wall` is the current time in epoch seconds.  A record of another allocation is ignored (a
    sticky disk carries it over); a changed TTL or DEADLINE counts from the first start and drops
    an extension.
    """
    warning = ""
    if found is not None and found.allocation != settings.allocation:
        warning, found = "the recorded deadline is of another allocation; replacing it", None
    if found is not None and found.first_start > wall + 1:
        warning, found = "the recorded first start is in the future; replacing it", None
    if found is not None and found.origin == settings.origin and not _matches(found, settings):
        warning, found = "the recorded deadline contradicts its origin; replacing it", None
    extended = None if found is None else found.extended_to
    if found is not None and extended is not None and extended < found.first_start:
        warning = "the recorded extension ends before the first start; ignoring it"
        found = found._replace(extended_to=None, moved_by="", variable=0)
    if found is not None and found.origin == settings.origin:
        record = found
    else:
        first = found.first_start if found else wall
        if found is not None:
            warning = f"{found.origin} became {settings.origin}; counting from the first start"
        record = DeadlineRecord(settings.allocation, first, settings.origin, settings.end(first))
    return ResolvedDeadline(record, None if record.end is None else record.end - wall, warning)


def passed(record: DeadlineRecord, state_dir: str) -> tuple[str, str]:
    """
    Return why a start after the deadline runs nothing, and what to change.
    """
    if record.extended_to is None and record.origin.startswith("DEADLINE="):
        is_first = record.deadline is not None and record.deadline <= record.first_start
        if not is_first:
            return "deadline passed before this start", "set a later DEADLINE"
        clock = f"the clock of this machine is at {durations.format_instant(record.first_start)}"
        return f"{record.origin} is in the past", f"set a later DEADLINE; {clock}"
    hint = f"delete {state_dir}/state.json to start with a new deadline"
    return "deadline passed before this start", hint


def _matches(record: DeadlineRecord, settings: DeadlineSettings) -> bool:
    """Return whether the recorded deadline follows from its origin, to the second."""
    expected = settings.end(record.first_start)
    if expected is None or record.deadline is None:
        return expected is None and record.deadline is None
    return abs(record.deadline - expected) <= 1
