"""
The loop's clocks: one that includes suspends, and the wall clock, read only at the start.
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


class FakeTime(Inbox):
    """
    An inbox without events in which waiting advances the clock; `suspend` adds to each wait.
    """

    def __init__(self, now: float = 1000.0) -> None:
        super().__init__()
        self.now = now
        self.waits: list[float] = []
        self.suspend: Iterator[float] = iter(())

    def clock(self) -> float:
        """
        Return the current time.
        """
        return self.now

    def next(self, within: float) -> Event:
        """
        Wait for the whole time.
        """
        assert len(self.waits) < 100_000, "the loop does not end"
        self.waits.append(within)
        self.now += max(0.0, within) + next(self.suspend, 0.0)
        return TimePassed()


def first_state(now: float = 1000.0, **environ: str) -> tuple[State, list[Command]]:
    """
    Return the first state for these settings, without a record and without a start of nginx.
    """
    settings = load.read({"SERVICE_NAME": "web", **environ}, lambda _: False)
    state, commands = decide.first_state(
        settings, lifecycle.resolve(settings, None, WALL), ["nomad:web"], now
    )
    # The services are mocks without an nginx, so none may be started.
    return replace(state, started_at=math.inf), commands


def run_loop(time: FakeTime, state: State, commands: list[Command]) -> Exit:
    """
    Run the real loop until it exits.
    """
    return Loop(MagicMock(), time, time.clock).run(state, commands)


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_D13_the_wall_clock_is_read_once(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """
    Once the loop runs, a change of the wall clock has no effect: it is not read again.
    """
    time = FakeTime()
    state, commands = first_state(TTL="1h")
    monkeypatch.setattr("time.time", lambda: WALL + jump)

    assert "deadline" == run_loop(time, state, commands).reason
    assert pytest.approx(1000 + 3600) == time.now


@pytest.mark.parametrize("boot", [0.0, 1e3, 1e9])
def test_D13_a_deadline_is_a_reading_of_the_loops_clock(boot: float) -> None:
    """
    The remaining time at the start determines the deadline, whatever the machine's uptime.
    """
    state, _ = first_state(boot, TTL="1h")

    assert boot + 3600 == state.lifetime.deadline


def test_D14_a_suspend_is_noticed_within_five_seconds() -> None:
    """
    No single wait exceeds 5 s, so that a suspend cannot delay the deadline by more.
    """
    time = FakeTime()
    time.suspend = iter([0.0] * 10 + [2 * DAY])
    state, commands = first_state(TTL="24h")
    before = time.now + 10 * 5

    assert "deadline" == run_loop(time, state, commands).reason
    assert max(time.waits) <= 5
    assert time.now <= before + 5 + 2 * DAY + 0.1


def test_D14_a_suspend_past_the_whole_ladder_still_exits_with_0() -> None:
    """
    After waking past the drain's time limit, remaining processes are killed and the code is 0.
    """
    state, _ = first_state(TTL="1h")
    serving = replace(state, master=replace(state.master, pid=7))
    draining, _ = decide.decide(serving, TimePassed(), 1000 + 3600)
    assert Phase.DRAINING is draining.lifetime.phase
    _, commands = decide.decide(draining, TimePassed(), 1000 + 3600 + DAY)

    (last,) = [command for command in commands if isinstance(command, Exit)]
    assert 0 == last.code


@pytest.mark.parametrize("ttl", ["3650d", "10000d", "0", "never"])
def test_D15_no_wait_is_too_long(ttl: str) -> None:
    """
    Ten years, or no deadline, is waited for in short waits that overflow no clock.
    """
    time = FakeTime()
    state, _ = first_state(TTL=ttl)
    wait = min(5.0, state.wake_at - time.now)

    assert isinstance(Inbox().next(0), TimePassed)
    assert 5.0 == wait
    for _ in range(100):
        state, commands = decide.decide(state, time.next(wait), time.now)
        assert not [command for command in commands if isinstance(command, Exit)]
