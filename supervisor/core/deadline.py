"""
Move the deadline while the service runs, and compute the warnings before it.

Theory: a request moves the deadline by a span or to an instant.  A span counts from the current
deadline, so two requests of one hour each add two hours.  A request is refused, with the reason, if
there is no deadline to move, if the new one would exceed MAX_TTL (counted from the first start), or
if it would be in the past: ending the service at once cannot be undone and has its own command,
`stop`.

Instants of a record and of a request are epoch seconds, all others are on the loop's clock.
"""

from collections.abc import Iterable

from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.durations import format_instant, format_span
from supervisor.core.events import DeadlineRequested
from supervisor.core.model import NEVER
from supervisor.core.values import value_class

#: The last second of the year 9999; later instants cannot be formatted.
_LAST_INSTANT = 253402300799.0


@value_class(frozen=True, slots=True)
class Moved:
    """
    A moved deadline: the record to save, and the instant on the loop's clock.
    """

    record: DeadlineRecord
    deadline: float


def latest(record: DeadlineRecord, max_ttl: float | None) -> float | None:
    """
    Return the latest permitted deadline in epoch seconds, or None for no limit.
    """
    return None if max_ttl is None else record.first_start + max_ttl


def moved(
    record: DeadlineRecord,
    deadline: float,
    request: DeadlineRequested,
    max_ttl: float | None,
    now: float,
) -> Moved | str:
    """
    Move the deadline as requested, or return the reason for refusing.
    """
    end = record.end
    if request.until is not None:
        epoch, instant = request.until, now + request.until - request.wall
    elif request.by is None or end is None or deadline == NEVER:
        return "cannot move the deadline by a duration: none is set; give an instant"
    else:
        epoch, instant = end + request.by, deadline + request.by
    if instant <= now:
        past = format_span(max(0.0, now - instant))
        return f"cannot move the deadline to {past} ago; run `stop` to shut down now"
    if epoch > _LAST_INSTANT:
        return "cannot move the deadline beyond the year 9999"
    bound = latest(record, max_ttl)
    if bound is not None and epoch > bound and (end is None or epoch > end):
        return f"cannot move the deadline beyond {format_instant(bound)}, the limit set by MAX_TTL"
    return Moved(record._replace(extended_to=epoch, moved_by=""), instant)


def next_warning(spans: Iterable[float], remaining: float) -> float:
    """
    Return how many seconds before the deadline the next warning is due; 0 if none is left.
    """
    return max((span for span in spans if span < remaining), default=0.0)


def current_warning(spans: Iterable[float], remaining: float) -> float:
    """
    Return the current warning: the shortest span not below the remaining time, or 0.
    """
    return min((span for span in spans if remaining <= span), default=0.0)
