"""
IDLE_TIMEOUT: its values, and values that are probably not meant.
"""

import pytest

from supervisor.core.config import load
from supervisor.core.errors import Problem

WEB = {"SERVICE_NAME": "web"}


def read(**given: str) -> load.Settings:
    """
    Read these settings.
    """
    return load.read({**WEB, **given}, lambda _: False)


@pytest.mark.parametrize(
    "text, seconds",
    [("off", None), ("0", None), ("never", None), ("", None), ("2h", 7200.0), ("90", 90.0)],
)
def test_it_is_a_duration_or_off(text: str, seconds: float | None) -> None:
    """
    Off by default.
    """
    assert seconds == read(IDLE_TIMEOUT=text).idle_timeout


def test_anything_else_is_refused() -> None:
    """
    With the expected form.
    """
    with pytest.raises(Problem, match="IDLE_TIMEOUT='soon': expected a duration"):
        read(IDLE_TIMEOUT="soon")


@pytest.mark.parametrize(
    "given, hint",
    [
        ({"IDLE_TIMEOUT": "30m"}, ""),
        ({"IDLE_TIMEOUT": "5"}, "5 without a unit means 5s; did you mean 5m?"),
        ({"IDLE_TIMEOUT": "5s"}, ""),
        ({"IDLE_TIMEOUT": "2h", "TTL": "1h"}, "2h is not less than the lifetime (TTL) of 1h"),
        ({"IDLE_TIMEOUT": "2h", "TTL": "1h", "DEADLINE": "4000000000"}, ""),
        ({"IDLE_TIMEOUT": "2h", "TTL": "never"}, ""),
        ({"IDLE_TIMEOUT": "2h", "NOMAD_JOB_ID": "web"}, "ends only the balancer"),
        ({"IDLE_TIMEOUT": "2h", "NOMAD_JOB_ID": "web", "AT_DEADLINE": "stop-job"}, ""),
        ({"NOMAD_JOB_ID": "web"}, ""),
    ],
)
def test_what_is_probably_not_meant_is_said(given: dict[str, str], hint: str) -> None:
    """
    A number without a unit, a time that the deadline precedes, and replicas that go on alone.
    """
    environ = {**WEB, **given}
    hints = [text for name, text in load.hints(environ, read(**given)) if name == "IDLE_TIMEOUT"]

    assert bool(hint) == bool(hints)
    assert hint in "".join(hints)
