"""
The results of Nomad's checks for one allocation, and the state kept between two queries.
"""

from collections.abc import Iterable
from enum import Enum

from supervisor.core import probe_outcome
from supervisor.core.model import Endpoint
from supervisor.core.probe_outcome import Outcome, OutcomeKind
from supervisor.health.state import ProbeResult
from supervisor.nomad.api import CheckResult


class CheckSummary(Enum):
    """
    The combined result of all checks of an allocation; `NO_CHECKS`: there are none.
    """

    PASSED = "passed"
    FAILED = "failed"
    PENDING = "pending"
    NO_CHECKS = "no_checks"

    def to_probe_result(self, *, was_ready: bool) -> ProbeResult | None:
        """Convert to a probe result; pending checks do not fail an endpoint that was ready."""
        if self is CheckSummary.PASSED:
            return ProbeResult.PASSED
        if self is CheckSummary.FAILED or (self is CheckSummary.PENDING and not was_ready):
            return ProbeResult.FAILED
        return None


def describe(rows: Iterable[CheckResult], services: frozenset[str]) -> Outcome:
    """
    Return the outcome of the checks of these services, with the name and output of a failed one.
    """
    outcome = probe_outcome.PASSED
    for row in rows:
        if row.service in services and row.status == "failure":
            text = f"{row.name}: {row.output}" if row.output else row.name
            return probe_outcome.of_text(OutcomeKind.CHECK_FAILED, text)
        if row.service in services and row.status != "success":
            outcome = probe_outcome.CHECK_PENDING
    return outcome


def summarize(rows: Iterable[CheckResult], services: frozenset[str]) -> CheckSummary:
    """
    Combine the checks of these services: one failed check fails all, then one pending check counts.
    """
    statuses = {row.status for row in rows if row.service in services}
    if not statuses:
        return CheckSummary.NO_CHECKS
    if "failure" in statuses:
        return CheckSummary.FAILED
    return CheckSummary.PASSED if statuses == {"success"} else CheckSummary.PENDING


class AllocationChecks:
    """
    The endpoints of an allocation, when its next query is due, and since when queries have failed.

    `has_no_checks` is true while no check has ever been reported: then its service defines none.
    An allocation whose checks have disappeared is stopping.  `outcome`: of the last query, which
    ended at `ended_at`.
    """

    __slots__ = (
        "due",
        "ended_at",
        "endpoints",
        "had_checks",
        "has_no_checks",
        "outcome",
        "unanswered_since",
    )

    def __init__(self, due: float) -> None:
        self.endpoints: list[Endpoint] = []
        self.due = due
        self.had_checks = False
        self.has_no_checks = False
        self.unanswered_since: float | None = None
        self.outcome: Outcome | None = None
        self.ended_at = due

    def on_response(self, summary: CheckSummary) -> None:
        """Record a response."""
        self.unanswered_since = None
        self.had_checks = self.had_checks or summary is not CheckSummary.NO_CHECKS
        self.has_no_checks = not self.had_checks

    def on_failure(self, started_at: float) -> None:
        """Record that a query failed."""
        if self.unanswered_since is None:
            self.unanswered_since = started_at
