"""
What Nomad's checks say of an allocation, and what is kept of it between two questions.
"""

from collections.abc import Iterable
from enum import Enum

from supervisor.core.model import Endpoint
from supervisor.health.state import Verdict


class Word(Enum):
    """
    What all checks of an allocation say together; `nothing` is that there are none.
    """

    PASSED = "passed"
    FAILED = "failed"
    PENDING = "pending"
    NOTHING = "nothing"

    def verdict(self, *, proven: bool) -> Verdict | None:
        """Judge: one that was ready once has not failed by a check that begins anew."""
        if self is Word.PASSED:
            return Verdict.PASSED
        if self is Word.FAILED or (self is Word.PENDING and not proven):
            return Verdict.FAILED
        return None


def word(rows: Iterable[tuple[str, str]], services: frozenset[str]) -> Word:
    """
    Sum up the checks of these services: one failure is enough, and so is one that is to come.
    """
    statuses = {status for service, status in rows if service in services}
    if not statuses:
        return Word.NOTHING
    if "failure" in statuses:
        return Word.FAILED
    return Word.PASSED if statuses == {"success"} else Word.PENDING


class Allocation:
    """
    Its endpoints, when it is due, and since when nothing was learned of it.

    It is bare while it has never had a check: then its service has none.  One that had some and
    has none any more is stopping.
    """

    __slots__ = ("due", "endpoints", "had_checks", "is_bare", "silent_since")

    def __init__(self, due: float) -> None:
        self.endpoints: list[Endpoint] = []
        self.due = due
        self.had_checks = False
        self.is_bare = False
        self.silent_since: float | None = None

    def heard(self, said: Word) -> None:
        """Take in an answer."""
        self.silent_since = None
        self.had_checks = self.had_checks or said is not Word.NOTHING
        self.is_bare = not self.had_checks

    def missed(self, asked_at: float) -> None:
        """Take in that a question was not answered."""
        if self.silent_since is None:
            self.silent_since = asked_at
