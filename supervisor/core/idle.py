"""
The idle clock: how long no client has used the service, and when that ends it (IDLE_TIMEOUT).

Theory: a wrong "idle" ends a service under somebody's hands, a late one costs minutes.  So only a
look that saw nothing moves the clock towards the end, never the passing of time alone; what cannot
be observed counts as use, and so does the time between two looks that are too far apart (the
machine was suspended, or a disk hung).  A request counts when it ends, and as an open connection
until then.  A connection that is new at a look is not use yet, because a TCP health check is one
too; but the service does not end while it is there.  The clock starts when an endpoint is served
for the first time: until then nobody can use anything.

All instants are seconds on the loop's clock.
"""

from collections.abc import Iterable
from dataclasses import replace

from supervisor.core.events import UseObserved
from supervisor.core.values import value_class

#: A request appears in the log up to a second after it ended (`flush` in `nginx.conf.j2`), so the
#: look that ends the service must be this much later than the last moment that counts, in seconds.
SETTLE = 1.5

#: Longest time between two looks that counts as observed, in seconds.
MAX_GAP = 20.0

#: A warning shall come at most this part of IDLE_TIMEOUT before the end: one that is out all the
#: time between two requests says nothing.
_LONGEST_WARNING = 0.5

#: Without a span in WARN_AT that is short enough, the warning comes this part before the end.
_DEFAULT_WARNING = 0.25


@value_class(frozen=True, slots=True)
class Idle:
    """
    The idle clock; without IDLE_TIMEOUT it never starts.

    `used_at` is when the service was used last, None before the first endpoint was served;
    `observed_at` is the last look, None before the first one.  `open` counts client connections,
    `warns_before` is how long before the end the next warning is due, 0 for none; `warned` is
    whether one is out.  `error` is why use cannot be observed.
    """

    used_at: float | None = None
    observed_at: float | None = None
    open: int = 0
    warns_before: float = 0.0
    warned: bool = False
    error: str = ""


def started(idle: Idle, warn_at: Iterable[float], timeout: float, now: float) -> Idle:
    """
    Start the clock, or start it again: the service is used now.
    """
    first = max(warnings_before_end(warn_at, timeout), default=0.0)
    return replace(idle, used_at=now, warns_before=first, warned=False)


def observed(idle: Idle, look: UseObserved, now: float) -> tuple[Idle, bool]:
    """
    Apply a look; the second value is whether it saw use, or cannot tell.
    """
    gap = 0.0 if idle.observed_at is None else now - idle.observed_at
    is_used = bool(look.requests or look.kept or look.error or gap > MAX_GAP)
    return replace(idle, observed_at=now, open=look.open, error=look.error), is_used


def is_over(idle: Idle, timeout: float, now: float) -> bool:
    """
    Return whether the service has been idle for `timeout` at a look that saw no connection.
    """
    return idle.used_at is not None and not idle.open and now >= idle.used_at + timeout + SETTLE


def warnings_before_end(spans: Iterable[float], timeout: float) -> tuple[float, ...]:
    """
    Return the spans of WARN_AT that fit an idle timeout; if none fits, a quarter of the timeout.
    """
    given = tuple(spans)
    fitting = tuple(span for span in given if span <= timeout * _LONGEST_WARNING)
    return fitting or ((timeout * _DEFAULT_WARNING,) if given else ())
