"""
Tests of the drain ladder, used for nginx and for a command under `exec`.
"""

import math

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import lifecycle
from supervisor.core.drain_ladder import DrainLadder
from supervisor.core.lifecycle import Lifetime

seconds = st.floats(0, 1e6)
pauses = st.lists(st.floats(0, 10), max_size=4)


@given(is_deadline=st.booleans(), drain=seconds, stop=seconds, waits=pauses)
def test_nginx_is_stopped_by_the_same_ladder(
    is_deadline: bool,  # noqa: FBT001
    drain: float,
    stop: float,
    waits: list[float],
) -> None:
    """
    A shutdown of nginx has the same ladder as a command, for every begin and every stop signal.
    """
    now = 1000.0
    ladder, life = DrainLadder(), Lifetime()
    if is_deadline:
        ladder = ladder.begin("deadline", drain, now)
        life = lifecycle.drain(life, "deadline", drain, now)
    for wait in waits:
        now += wait
        ladder = ladder.stop(stop, now)
        life = lifecycle.stop_requested(life, stop, now)

    assert ladder == life.ladder


@given(total=seconds, waits=pauses)
def test_a_stop_signal_never_postpones_the_end(total: float, waits: list[float]) -> None:
    """
    Each further stop signal keeps the end of the ladder or moves it forward.
    """
    now, before = 0.0, math.inf
    ladder = DrainLadder()
    for wait in [0.0, *waits]:
        now += wait
        ladder = ladder.stop(total, now)

        assert ladder.gone_at <= before
        before = ladder.gone_at
