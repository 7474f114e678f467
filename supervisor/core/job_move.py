"""
What is known of the job's variable, and a move of the whole job's deadline that is being written.

Theory: the variable is the truth for all tasks of the job, so a request for the whole job is
written there first, and has an effect only once it was read back.  One request at a time is
written.  While one is, the deadline waits for its answer, for a few seconds at most: a move that
the replicas take must not come too late for the balancer.

All instants are seconds on the loop's clock, if not said otherwise.
"""

from dataclasses import replace

from supervisor.core.job_deadline import JobVariable
from supervisor.core.model import NEVER
from supervisor.core.values import value_class

#: How long a write may take, in seconds; less than an admin request waits for its reply.
WRITE_TIMEOUT = 4.0

#: Who moved a deadline, as the variable stores it: requests to a balancer, and a value that was
#: typed by hand and that a balancer has marked as one of this run.
EXTEND, STOP, HAND = "extend", "stop", "hand"

#: Who moved it if the variable did not: a request for this balancer alone.
ONLY_BALANCER = "only-balancer"

#: Why the shutdown begins when such a move is due.
REASONS = {STOP: "stop requested"}


@value_class(frozen=True, slots=True)
class Write:
    """
    A request that is being written; `target` is the deadline that it sets, in epoch seconds.
    """

    ticket: int
    moved_by: str
    target: float
    until: float


@value_class(frozen=True, slots=True)
class JobMove:
    """
    The variable, None if there is none, and why it does not count.

    `read_at` is None before the first reading.  `failure` is why it cannot be read, since
    `failing_since`; `is_denied` if the token may not read it, which no retry mends.
    """

    variable: JobVariable | None = None
    problem: str = ""
    read_at: float | None = None
    failure: str = ""
    failing_since: float | None = None
    is_denied: bool = False
    write: Write | None = None

    @property
    def wake_at(self) -> float:
        """When the write is given up."""
        return NEVER if self.write is None else self.write.until

    @property
    def expected(self) -> int | None:
        """The index that the variable should have, 0 if it does not exist, None if unknown."""
        if self.read_at is None:
            return None
        return 0 if self.variable is None else self.variable.modify_index


def on_read(move: JobMove, variable: JobVariable | None, problem: str, now: float) -> JobMove:
    """
    Remember a reading.
    """
    return replace(
        move,
        variable=variable,
        problem=problem,
        read_at=now,
        failure="",
        failing_since=None,
        is_denied=False,
    )


def on_failure(move: JobMove, reason: str, *, is_denied: bool, now: float) -> JobMove:
    """
    Remember that the variable cannot be read.
    """
    since = now if move.failing_since is None else move.failing_since
    return replace(move, failure=reason, failing_since=since, is_denied=is_denied)
