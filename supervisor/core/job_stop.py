"""
The stop of the whole job: how long it is asked for, and how long Nomad has for it.

Theory: at the deadline Nomad is asked at once.  An API that is away is asked again, with growing
pauses, for half a minute: an agent that restarts is back by then, and so is a cluster that elects a
leader.  Once Nomad agreed there is nothing more to ask; its stop signal has the rest of one minute,
which leaves room for a group's `shutdown_delay`.  A no that will not become a yes, such as a
missing right, ends the wait at once.

All instants are seconds on the loop's clock.
"""

from dataclasses import dataclass, replace

from supervisor.core.events import JobStopAnswered
from supervisor.core.model import NEVER

#: Counted from the deadline: until when it is asked for, and until when the signal may come.
_ASKING = 30.0
SERVING_ON = 60.0

#: What a start past the deadline has for its one question, in seconds.
LATE = 0.5

#: Between two questions: the first pause, which doubles, and the longest.
_FIRST = 0.5
_LONGEST = 5.0

#: Answers that may be another one next time, and no answer at all, are asked for again.
_BUSY = frozenset({429, *range(500, 600)})


@dataclass(frozen=True, slots=True)
class JobStop:
    """
    How far the stop of the job is, and the instants at which something is due about it.
    """

    began_at: float = NEVER
    ask_at: float = NEVER
    alone_at: float = NEVER
    tries: int = 0
    is_granted: bool = False
    error: str = ""

    @property
    def wake_at(self) -> float:
        """The next instant at which to ask, or to go alone."""
        return min(self.ask_at, self.alone_at)


def started(now: float) -> JobStop:
    """
    Begin: ask now.
    """
    return JobStop(began_at=now, ask_at=now, alone_at=now + _ASKING)


def requested(stop: JobStop) -> JobStop:
    """
    Count a question; the next one waits for its answer.
    """
    return replace(stop, ask_at=NEVER, tries=stop.tries + 1)


def answered(stop: JobStop, answer: JobStopAnswered, now: float) -> JobStop:
    """
    Take in an answer: wait for the signal, ask again, or go alone.
    """
    if not answer.error:
        return replace(stop, is_granted=True, error="", alone_at=stop.began_at + SERVING_ON)
    stop = replace(stop, error=answer.error)
    if answer.status is not None and answer.status not in _BUSY:
        return replace(stop, alone_at=now)
    pause = min(_LONGEST, _FIRST * 2.0 ** min(stop.tries - 1, 16))
    ask_at = now + (answer.retry_after or pause)
    if ask_at >= stop.alone_at:  # there will be no time for another question
        return replace(stop, alone_at=now)
    return replace(stop, ask_at=ask_at)
