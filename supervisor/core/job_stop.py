"""
The stop of the whole job: how long it is requested, and how long to wait for Nomad's signal.

Theory: at the deadline the stop is requested at once.  If the API is unavailable, the request is
repeated with growing pauses for half a minute, enough for an agent to restart or a cluster to elect
a leader.  Once Nomad has accepted it, the stop signal must arrive within one minute from the
deadline, which leaves time for a group's `shutdown_delay`.  A refusal that a retry cannot change,
such as a missing right, ends the wait at once.

All instants are seconds on the loop's clock.
"""

from dataclasses import replace

from supervisor.core.events import JobStopAnswered
from supervisor.core.model import NEVER
from supervisor.core.values import value_class

#: Seconds from the deadline: for requests that Nomad has not accepted, and for its stop signal.
_REQUEST_TIMEOUT = 30.0
SIGNAL_TIMEOUT = 60.0

#: How long a start past the deadline waits for the answer to its only request, in seconds.
LATE_REQUEST_TIMEOUT = 0.5

#: Seconds between two requests: the first pause, which doubles, and the longest.
_FIRST_PAUSE = 0.5
_MAX_PAUSE = 5.0

#: Statuses after which the request is repeated, as it is without a response.
_RETRYABLE = frozenset({429, *range(500, 600)})


@value_class(frozen=True, slots=True)
class JobStop:
    """
    The progress of the job's stop.

    `request_at` is when the next request is due, `give_up_at` when to shut down without Nomad.
    """

    began_at: float = NEVER
    request_at: float = NEVER
    give_up_at: float = NEVER
    tries: int = 0
    is_granted: bool = False
    error: str = ""

    @property
    def wake_at(self) -> float:
        """The instant of the next request or of giving up."""
        return min(self.request_at, self.give_up_at)


def started(now: float) -> JobStop:
    """
    Begin, with the first request due now.
    """
    return JobStop(began_at=now, request_at=now, give_up_at=now + _REQUEST_TIMEOUT)


def requested(stop: JobStop) -> JobStop:
    """
    Count a request; the next one waits for its answer.
    """
    return replace(stop, request_at=NEVER, tries=stop.tries + 1)


def answered(stop: JobStop, answer: JobStopAnswered, now: float) -> JobStop:
    """
    Apply an answer: wait for the signal, schedule another request, or give up.
    """
    if not answer.error:
        return replace(stop, is_granted=True, error="", give_up_at=stop.began_at + SIGNAL_TIMEOUT)
    stop = replace(stop, error=answer.error)
    if answer.status is not None and answer.status not in _RETRYABLE:
        return replace(stop, give_up_at=now)
    pause = min(_MAX_PAUSE, _FIRST_PAUSE * 2.0 ** min(stop.tries - 1, 16))
    request_at = now + (answer.retry_after or pause)
    if request_at >= stop.give_up_at:  # no time is left for another request
        return replace(stop, give_up_at=now)
    return replace(stop, request_at=request_at)
