"""
The TTL: none, very long, shared by two tasks, or contradictory.
"""

import signal
import time
from collections.abc import Callable

import pytest

from tests.support.deadlines import EXACT, ended_at
from tests.support.supervised import Supervised

Supervise = Callable[..., Supervised]

TEN_YEARS = 10 * 365 * 86400


@pytest.mark.parametrize("ttl", ["0", "never", "none", "off", "NEVER"])
def test_D15_no_limit(supervise: Supervise, ttl: str) -> None:
    """
    TTL=0, never, none or off means no deadline; a stop signal still ends the program.
    """
    subject = supervise(TTL=ttl)
    subject.ready()
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(10)
    (line,) = subject.log_lines("deadline.set")
    assert ("TTL=never", None) == (line["origin"], line.get("remaining"))
    assert subject.state
    assert subject.state["deadline"] is None


@pytest.mark.parametrize(
    "ttl, seconds", [(None, 86400), ("", 86400), ("3650d", TEN_YEARS), ("10000d", 10_000 * 86400)]
)
def test_D15_a_day_or_ten_years(supervise: Supervise, ttl: str | None, seconds: float) -> None:
    """
    The default TTL is a day; ten years and more overflow neither a wait nor a date.
    """
    subject = supervise(TTL=ttl)
    subject.ready()
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(10)
    (line,) = subject.log_lines("deadline.set")
    assert line["remaining"] == pytest.approx(seconds, abs=1)


def test_D18_two_that_share_a_deadline_end_together(supervise: Supervise) -> None:
    """
    Two tasks with the same DEADLINE, started at different times, exit within half a second of each
    other.
    """
    deadline = time.time() + 4
    one = supervise(DEADLINE=f"{deadline:.3f}")
    one.ready()
    two = supervise(DEADLINE=f"{deadline:.3f}", TTL="1h")
    two.ready()

    assert [0, 0] == [one.wait(10), two.wait(10)]
    assert abs(ended_at(one) - ended_at(two)) < EXACT
    assert ended_at(one) == pytest.approx(deadline, abs=EXACT)


def test_D18_a_ttl_and_a_duration_that_differ(supervise: Supervise) -> None:
    """
    TTL and DURATION mean the same; different values lead to exit code 78 and a line with both.
    """
    subject = supervise(TTL="1h", DURATION="2h")

    assert 78 == subject.wait(10)
    (line,) = [line for line in subject.errors if "DURATION" in line]
    assert "'1h'" in line
    assert "'2h'" in line


@pytest.mark.parametrize("settings", [{"DURATION": "2h"}, {"DURATION": "2h", "TTL": "2h"}])
def test_D18_duration_is_another_name_of_ttl(
    supervise: Supervise, settings: dict[str, str]
) -> None:
    """
    DURATION alone, or equal to TTL, is used as TTL.
    """
    subject = supervise(**settings)

    assert "TTL=2h" == subject.wait_for_log("deadline.set")["origin"]
