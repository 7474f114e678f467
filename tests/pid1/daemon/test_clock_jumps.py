"""
Clocks that jump under a running program; they are injected, the machine's clocks do not change.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.deadlines import EXACT, Clocks
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]

DAY = 86400.0


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["a day ahead", "a day back"])
def test_D13_a_wall_clock_that_jumps(supervise: Supervise, tmp_path: Path, jump: float) -> None:
    """
    A wall clock set ahead or back by a day does not move a running deadline.

    The pattern being replaced does this too: sleep counts on another clock.
    """
    clocks = Clocks(tmp_path)
    subject = supervise(TTL="3s", PYTHONPATH=clocks.path)
    subject.ready()
    clocks.step(wall=jump)

    assert 0 == subject.wait(10)
    assert 2.9 <= subject.lasted <= 10  # neither at once nor tomorrow; D01 is about being exact
    if "old" != subject.subject.name:
        first, last = subject.logs[0]["time"], subject.logs[-1]["time"]
        assert first[:10] != last[:10], "the program did not see the jump"


def test_D14_a_suspend_does_not_extend_the_deadline(supervise: Supervise, tmp_path: Path) -> None:
    """
    A deadline that passed while the machine was suspended takes effect within 5 s of resuming.
    """
    clocks = Clocks(tmp_path)
    subject = supervise(TTL="1h", PYTHONPATH=clocks.path)
    subject.ready()
    eventually(lambda: subject.lasted >= 1.5)  # after the load of the start
    assert subject.running
    resumed = time.monotonic()
    clocks.step(wall=2 * 3600, suspended=2 * 3600)

    assert 0 == subject.wait(10)
    assert subject.run.exited_at
    assert subject.run.exited_at - resumed < 5 + EXACT
    assert subject.log_lines("ended", reason="deadline")
