"""
Time as the loop sees it: a clock that counts suspends, and a wall that is looked at once.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import MagicMock

import pytest

from supervisor.core import lifecycle
from supervisor.core.commands import Command, Exit
from supervisor.core.config import load
from supervisor.core.events import Event, TimePassed
from supervisor.core.lifecycle import Phase
from supervisor.core.policy import decide
from supervisor.core.state import State
from supervisor.daemon.inbox import Inbox
from supervisor.daemon.loop import Loop

WALL = 1_800_000_000.0
DAY = 86400.0


class Time(Inbox):
    """
    The real inbox with nobody posting, where waiting moves the clock; `suspend` comes on top.
    """

    def __init__(self, now: float = 1000.0) -> None:
        super().__init__()
        self.now = now
        self.naps: list[float] = []
        self.suspend: Iterator[float] = iter(())

    def clock(self) -> float:
        """
        Read the clock.
        """
        return self.now

    def next(self, within: float) -> Event:
        """
        Wait in vain.
        """
        assert len(self.naps) < 100_000, "it never ends"
        self.naps.append(within)
        self.now += max(0.0, within) + next(self.suspend, 0.0)
        return TimePassed()


def begun(now: float = 1000.0, **configured: str) -> tuple[State, list[Command]]:
    """
    Begin to live by these settings, with nothing recorded and nginx out of the picture.
    """
    chosen = load.read({"SERVICE_NAME": "web", **configured}, lambda _: False)
    state, commands = decide.first_state(
        chosen, lifecycle.resolve(chosen, None, WALL), ["nomad:web"], now
    )
    # No nginx will ever answer the orders of this loop's hands, so nothing is wanted of it.
    return replace(state, started_at=math.inf), commands


def ended(time: Time, state: State, commands: list[Command]) -> Exit:
    """
    Run the real loop until it leaves.
    """
    return Loop(MagicMock(), time, time.clock).run(state, commands)


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_D13_the_wall_is_looked_at_once(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """
    Once the loop runs, the wall clock may say what it likes: nobody reads it any more.
    """
    time = Time()
    state, commands = begun(TTL="1h")
    monkeypatch.setattr("time.time", lambda: WALL + jump)

    assert "deadline" == ended(time, state, commands).reason
    assert pytest.approx(1000 + 3600) == time.now


@pytest.mark.parametrize("boot", [0.0, 1e3, 1e9])
def test_D13_a_deadline_is_a_reading_of_the_loops_clock(boot: float) -> None:
    """
    However long the machine is up, what remains at the start is what is lived.
    """
    state, _ = begun(boot, TTL="1h")

    assert boot + 3600 == state.lifetime.deadline


def test_D14_a_suspend_is_noticed_within_five_seconds() -> None:
    """
    The loop never trusts one wait for more than 5 s, so that a suspend cannot stretch the deadline.
    """
    time = Time()
    time.suspend = iter([0.0] * 10 + [2 * DAY])
    state, commands = begun(TTL="24h")
    before = time.now + 10 * 5

    assert "deadline" == ended(time, state, commands).reason
    assert max(time.naps) <= 5
    assert time.now <= before + 5 + 2 * DAY + 0.1


def test_D14_a_suspend_past_the_whole_ladder_still_ends_well() -> None:
    """
    Waking after the drain's budget is long over, what is left is killed and the code is 0.
    """
    state, _ = begun(TTL="1h")
    serving = replace(state, master=replace(state.master, pid=7))
    draining, _ = decide.decide(serving, TimePassed(), 1000 + 3600)
    assert Phase.DRAINING is draining.lifetime.phase
    _, commands = decide.decide(draining, TimePassed(), 1000 + 3600 + DAY)

    (last,) = [command for command in commands if isinstance(command, Exit)]
    assert 0 == last.code


@pytest.mark.parametrize("ttl", ["3650d", "10000d", "0", "never"])
def test_D15_no_wait_is_too_long(ttl: str) -> None:
    """
    Ten years, or no end at all, is waited for in naps that no clock overflows at.
    """
    time = Time()
    state, _ = begun(TTL=ttl)
    nap = min(5.0, state.wake_at - time.now)

    assert isinstance(Inbox().next(0), TimePassed)
    assert 5.0 == nap
    for _ in range(100):
        state, commands = decide.decide(state, time.next(nap), time.now)
        assert not [command for command in commands if isinstance(command, Exit)]
