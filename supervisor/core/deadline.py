"""
The deadline while the service runs: moved by who may, and announced before it comes.

Theory: whoever moves it says by how much, or until when.  By how much counts from the deadline that
is, so that two people who give it an hour each give it two.  It is refused, with the reason, where
there is nothing to move, where it would reach beyond MAX_TTL (counted from the first start), and
where it would already be past: an end that cannot be taken back has a word of its own, `stop`.

Instants of a record and of a wish are epoch seconds, all others are on the loop's clock.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.durations import format_instant, format_span
from supervisor.core.events import DeadlineRequested
from supervisor.core.model import NEVER

#: Nothing can be told of an instant beyond the year 9999.
_LAST_INSTANT = 253402300799.0


@dataclass(frozen=True, slots=True)
class Moved:
    """
    A deadline that was moved: the record to keep, and the instant on the loop's clock.
    """

    record: DeadlineRecord
    deadline: float


def latest(record: DeadlineRecord, max_ttl: float | None) -> float | None:
    """
    Return the bound of any extension; None where there is none.
    """
    return None if max_ttl is None else record.first_start + max_ttl


def moved(
    record: DeadlineRecord,
    deadline: float,
    wish: DeadlineRequested,
    max_ttl: float | None,
    now: float,
) -> Moved | str:
    """
    Move the deadline as somebody wishes, or return why not.
    """
    end = record.end
    if wish.until is not None:
        epoch, instant = wish.until, now + wish.until - wish.wall
    elif wish.by is None or end is None or deadline == NEVER:
        return "there is no deadline that could be moved by a span: name an instant"
    else:
        epoch, instant = end + wish.by, deadline + wish.by
    if instant <= now:
        past = format_span(max(0.0, now - instant))
        return f"that would have been {past} ago: `stop` ends it now"
    if epoch > _LAST_INSTANT:
        return "that is beyond the year 9999"
    bound = latest(record, max_ttl)
    if bound is not None and epoch > bound and (end is None or epoch > end):
        return f"MAX_TTL allows no deadline after {format_instant(bound)}"
    return Moved(record._replace(extended_to=epoch), instant)


def next_warning(spans: Iterable[float], remaining: float) -> float:
    """
    Return how long before the deadline the next warning is due; 0 where none is left.
    """
    return max((span for span in spans if span < remaining), default=0.0)


def current_warning(spans: Iterable[float], remaining: float) -> float:
    """
    Return the warning that holds now: the shortest span that the remaining time is within, or 0.
    """
    return min((span for span in spans if remaining <= span), default=0.0)
