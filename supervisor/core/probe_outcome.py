"""
What one probe of an endpoint found, in the words of the status and of the log.

The outcome of the last probe is kept for each endpoint, so it must be small: it is one tuple, and
equal outcomes of different endpoints are usually the same object.
"""

from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from supervisor.core.durations import format_span

#: The longest text of another program that an outcome carries, in characters.
_MAX_TEXT = 200


class OutcomeKind(StrEnum):
    """
    The ways in which a probe can end.

    `closed`: the endpoint accepted the connection and closed it.  `failed`: an error of the
    network.  The last three are those of Nomad's checks: its last result, none yet, and a query
    that failed.
    """

    PASSED = "passed"
    STATUS = "status"
    REFUSED = "refused"
    CONNECT_TIMEOUT = "connect_timeout"
    RESPONSE_TIMEOUT = "response_timeout"
    CLOSED = "closed"
    NOT_HTTP = "not_http"
    TLS = "tls"
    FAILED = "failed"
    CHECK_FAILED = "check_failed"
    CHECK_PENDING = "check_pending"
    NO_ANSWER = "no_answer"


class Outcome(NamedTuple):
    """
    The outcome of a probe.

    `number` is the status of an HTTP response, 0 without one; for `closed` the milliseconds that
    the connection was open; for a timeout its limit in milliseconds.  `text` comes from another
    program: an error of the network, or the output of a check.
    """

    kind: OutcomeKind
    number: int = 0
    text: str = ""

    def __str__(self) -> str:
        if self.kind is OutcomeKind.PASSED:
            return f"HTTP {self.number}" if self.number else "passed"
        return _text(self)

    @property
    def cause(self) -> tuple[OutcomeKind, int]:
        """
        What two endpoints have in common if they need the same advice.
        """
        return self.kind, self.number if self.kind is OutcomeKind.STATUS else 0


class ProbeReport(NamedTuple):
    """
    The outcome of the last probe of an endpoint, and how many seconds ago it ended.
    """

    outcome: Outcome
    age: float


PASSED = Outcome(OutcomeKind.PASSED)
REFUSED = Outcome(OutcomeKind.REFUSED)
NOT_HTTP = Outcome(OutcomeKind.NOT_HTTP)
TLS = Outcome(OutcomeKind.TLS)
CHECK_PENDING = Outcome(OutcomeKind.CHECK_PENDING)


@lru_cache(maxsize=256)
def responded(status: int, *, is_accepted: bool) -> Outcome:
    """
    Return the outcome of a response with this status.
    """
    return Outcome(OutcomeKind.PASSED if is_accepted else OutcomeKind.STATUS, status)


@lru_cache(maxsize=64)
def timed_out(seconds: float, *, is_connected: bool) -> Outcome:
    """
    Return the outcome of a probe that was not complete after this time.
    """
    kind = OutcomeKind.RESPONSE_TIMEOUT if is_connected else OutcomeKind.CONNECT_TIMEOUT
    return Outcome(kind, round(seconds * 1000))


@lru_cache(maxsize=256)
def closed(milliseconds: int) -> Outcome:
    """
    Return the outcome of a connection that the endpoint closed after this time.
    """
    return Outcome(OutcomeKind.CLOSED, milliseconds)


def of_text(kind: OutcomeKind, text: str) -> Outcome:
    """
    Return an outcome with the text of another program, shortened and without control characters.
    """
    printable = "".join(letter if letter.isprintable() else " " for letter in text[:_MAX_TEXT])
    return Outcome(kind, text=" ".join(printable.split()))


def _text(outcome: Outcome) -> str:
    limit = format_span(outcome.number / 1000)
    return {
        OutcomeKind.STATUS: f"HTTP {outcome.number}",
        OutcomeKind.REFUSED: "connection refused",
        OutcomeKind.CONNECT_TIMEOUT: f"timeout after {limit}, not connected",
        OutcomeKind.RESPONSE_TIMEOUT: f"timeout after {limit}, no complete response",
        OutcomeKind.CLOSED: f"closed after {outcome.number} ms",
        OutcomeKind.NOT_HTTP: "the response is not HTTP/1",
        OutcomeKind.TLS: "the endpoint requires TLS",
        OutcomeKind.FAILED: outcome.text,
        OutcomeKind.CHECK_FAILED: f"Nomad's check fails: {outcome.text}",
        OutcomeKind.CHECK_PENDING: "Nomad's check has no result yet",
        OutcomeKind.NO_ANSWER: f"Nomad's checks cannot be read: {outcome.text}",
    }[outcome.kind]
