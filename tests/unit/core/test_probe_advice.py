"""
The next step for each outcome of a probe.
"""

import pytest

from supervisor.core import probe_outcome
from supervisor.core.config import load
from supervisor.core.model import Endpoint
from supervisor.core.probe_advice import next_step
from supervisor.core.probe_outcome import Outcome, OutcomeKind, of_text

FAR, HERE, HERE6 = Endpoint("10.0.0.5", 80), Endpoint("127.0.0.1", 80), Endpoint("::1", 80)


def advice(
    outcome: Outcome | None, endpoint: Endpoint = FAR, *, in_container: bool = False, **given: str
) -> str:
    """Return the next step with these settings."""
    environ = {"SERVICE_NAME": "web", **given}
    settings = load.read(environ, lambda path: in_container and path == "/.dockerenv")
    return next_step(outcome, endpoint, settings)


def test_an_accepted_status_is_added_to_those_that_are_set() -> None:
    """
    The value to set has what is accepted already.
    """
    assert "HEALTH_STATUS=201,300-302,404" in status(404, HEALTH_STATUS="201,300-302")


def test_a_closed_connection_may_be_one_that_requires_tls() -> None:
    """
    Some servers close instead of sending an alert.
    """
    assert "requires TLS" in advice(probe_outcome.closed(2))


def status(number: int, **given: str) -> str:
    """Return the next step for a status."""
    given = {"HEALTH_CHECK": "http", **given}
    return advice(probe_outcome.responded(number, is_accepted=False), **given)


def test_404_names_the_path() -> None:
    """
    The path that was requested, and where it comes from.
    """
    assert "/v2/models/ (HEALTH_PATH) does not exist" in status(404, HEALTH_PATH="/v2/models/")
    assert "/ (the default of HEALTH_PATH)" in status(404)
    assert "HEALTH_STATUS=200-399,404" in status(404)


@pytest.mark.parametrize("number", [400, 421])
def test_400_names_the_host(number: int) -> None:
    """
    A server that allows only some hosts rejects an address; the Host that was sent is named.
    """
    assert "set HEALTH_HOST" in status(number)
    assert "10.0.0.5:80" in status(number)
    assert "HEALTH_HOST=a.b" in status(number, HEALTH_HOST="a.b")


@pytest.mark.parametrize(
    "number, part",
    [
        (401, "credentials"),
        (403, "HEALTH_HOST"),
        (407, "HEALTH_STATUS=200-399,407"),
        (405, "HEALTH_PATH"),
        (500, "its own log"),
        (503, "still loading"),
    ],
)
def test_other_statuses(number: int, part: str) -> None:
    """
    Each names a setting, or where the reason is.
    """
    assert part in status(number)


def test_loopback_in_a_container_is_named_as_the_cause() -> None:
    """
    Only there, and only for loopback.
    """
    part = "is the container itself, not the host"
    for endpoint in (HERE, HERE6):
        assert part in advice(probe_outcome.REFUSED, endpoint, in_container=True)
        assert "no process listens" in advice(probe_outcome.REFUSED, endpoint)
    assert "no process listens" in advice(probe_outcome.REFUSED, in_container=True)


@pytest.mark.parametrize(
    "outcome, part",
    [
        (None, "no probe of it has ended"),
        (probe_outcome.PASSED, "HEALTH_RISE=3"),
        (probe_outcome.timed_out(2.0, is_connected=False), "firewalls"),
        (probe_outcome.timed_out(2.0, is_connected=True), "HEALTH_TIMEOUT=7s"),
        (probe_outcome.closed(0), "port proxy"),
        (probe_outcome.NOT_HTTP, "HEALTH_CHECK=tcp"),
        (probe_outcome.TLS, "plain HTTP"),
        (of_text(OutcomeKind.FAILED, "no route to host"), "route"),
        (of_text(OutcomeKind.CHECK_FAILED, "x"), "`check` block"),
        (probe_outcome.CHECK_PENDING, "`interval`"),
        (of_text(OutcomeKind.NO_ANSWER, "x"), "Nomad must respond"),
    ],
)
def test_every_other_outcome_has_a_next_step(outcome: Outcome | None, part: str) -> None:
    """
    It names the setting, the line of the job, or what to check.
    """
    assert part in advice(outcome, HEALTH_RISE="3", HEALTH_TIMEOUT="7s")
