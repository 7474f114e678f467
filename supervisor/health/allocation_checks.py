"""
What Nomad's checks say of an allocation, and what is kept of it between two questions.
"""

from collections.abc import Iterable
from enum import Enum

from supervisor.core.model import Endpoint
from supervisor.health.state import ProbeResult


class CheckSummary(Enum):
    """
    What all checks of an allocation say together; `nothing` is that there are none.
    """

    PASSED = "passed"
    FAILED = "failed"
    PENDING = "pending"
    NOTHING = "nothing"

    def verdict(self, *, was_ready: bool) -> ProbeResult | None:
        """Judge: one that was ready once has not failed by a check that begins anew."""
        if self is CheckSummary.PASSED:
            return ProbeResult.PASSED
        if self is CheckSummary.FAILED or (self is CheckSummary.PENDING and not was_ready):
            return ProbeResult.FAILED
        return None


def summarize(rows: Iterable[tuple[str, str]], services: frozenset[str]) -> CheckSummary:
    """
    Sum up the checks of these services: one failure is enough, and so is one that is to come.
    """
    statuses = {status for service, status in rows if service in services}
    if not statuses:
        return CheckSummary.NOTHING
    if "failure" in statuses:
        return CheckSummary.FAILED
    return CheckSummary.PASSED if statuses == {"success"} else CheckSummary.PENDING


class AllocationChecks:
    """
    Its endpoints, when it is due, and since when nothing was learned of it.

    It is bare while it has never had a check: then its service has none.  One that had some and
    has none any more is stopping.
    """

    __slots__ = ("due", "endpoints", "had_checks", "has_no_checks", "unanswered_since")

    def __init__(self, due: float) -> None:
        self.endpoints: list[Endpoint] = []
        self.due = due
        self.had_checks = False
        self.has_no_checks = False
        self.unanswered_since: float | None = None

    def on_answer(self, said: CheckSummary) -> None:
        """Take in an answer."""
        self.unanswered_since = None
        self.had_checks = self.had_checks or said is not CheckSummary.NOTHING
        self.has_no_checks = not self.had_checks

    def on_no_answer(self, asked_at: float) -> None:
        """Take in that a question was not answered."""
        if self.unanswered_since is None:
            self.unanswered_since = asked_at
