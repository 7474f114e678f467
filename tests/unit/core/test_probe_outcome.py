"""
Outcomes of probes: their words, and what they have in common.
"""

import pytest

from supervisor.core import probe_outcome
from supervisor.core.probe_outcome import Outcome, OutcomeKind, of_text


@pytest.mark.parametrize(
    "outcome, text",
    [
        (probe_outcome.PASSED, "passed"),
        (probe_outcome.responded(204, is_accepted=True), "HTTP 204"),
        (probe_outcome.responded(404, is_accepted=False), "HTTP 404"),
        (probe_outcome.REFUSED, "connection refused"),
        (probe_outcome.timed_out(2.0, is_connected=False), "timeout after 2s, not connected"),
        (
            probe_outcome.timed_out(0.15, is_connected=True),
            "timeout after 0.15s, no complete response",
        ),
        (probe_outcome.closed(3), "closed after 3 ms"),
        (probe_outcome.NOT_HTTP, "the response is not HTTP/1"),
        (probe_outcome.TLS, "the endpoint requires TLS"),
        (of_text(OutcomeKind.FAILED, "no route to host"), "no route to host"),
        (of_text(OutcomeKind.CHECK_FAILED, "alive: 404"), "Nomad's check fails: alive: 404"),
        (probe_outcome.CHECK_PENDING, "Nomad's check has no result yet"),
        (
            of_text(OutcomeKind.NO_ANSWER, "Nomad's certificate is not valid"),
            "Nomad's checks cannot be read: Nomad's certificate is not valid",
        ),
    ],
)
def test_each_outcome_has_its_words(outcome: Outcome, text: str) -> None:
    """
    They contain the value: the status, the limit, the time.
    """
    assert text == str(outcome)


def test_the_cases_above_are_all() -> None:
    """
    A new kind needs words.
    """
    for kind in OutcomeKind:
        assert str(Outcome(kind, 7, "x"))


def test_endpoints_with_the_same_cause_are_reported_together() -> None:
    """
    Whatever the milliseconds; but not whatever the status.
    """
    assert probe_outcome.closed(3).cause == probe_outcome.closed(4).cause
    one, other = (probe_outcome.responded(code, is_accepted=False) for code in (404, 503))
    assert one.cause != other.cause


def test_text_of_others_is_short_and_printable() -> None:
    """
    It is shown on a terminal, and kept for each allocation.
    """
    outcome = of_text(OutcomeKind.CHECK_FAILED, "a\x1b[2J\n b\u202e" + "x" * 999)

    assert outcome.text.startswith("a [2J b x")
    assert len(outcome.text) <= 200


def test_equal_outcomes_are_one_object() -> None:
    """
    Ten thousand endpoints with the same outcome need the memory of one.
    """
    assert probe_outcome.responded(200, is_accepted=True) is probe_outcome.responded(
        200, is_accepted=True
    )
    assert probe_outcome.closed(5) is probe_outcome.closed(5)
    assert probe_outcome.timed_out(2.0, is_connected=True) is probe_outcome.timed_out(
        2.0, is_connected=True
    )
