"""
The ladder of a wrapped command is nginx's ladder.
"""

import math

from hypothesis import given
from hypothesis import strategies as st

from supervisor import lifetime
from supervisor.lifetime import Lifetime
from supervisor.wrap import ending

seconds = st.floats(0, 1e6)
pauses = st.lists(st.floats(0, 10), max_size=4)


@given(is_deadline=st.booleans(), drain=seconds, stop=seconds, waits=pauses)
def test_both_ladders_are_one(
    is_deadline: bool,  # noqa: FBT001
    drain: float,
    stop: float,
    waits: list[float],
) -> None:
    """
    Whatever began the end, and however often a stop was asked for: the same rungs, the same reason.
    """
    now = 1000.0
    ours, theirs = None, Lifetime()
    if is_deadline:
        ours = ending.at_deadline(drain, now)
        theirs = lifetime.drain(theirs, "deadline", drain, now)
    for wait in waits:
        now += wait
        ours = ending.asked_to_stop(ours, stop, now)
        theirs = lifetime.asked_to_stop(theirs, stop, now)

    if ours is not None:
        for name in ("reason", "began_at", "stops", "term_at", "kill_at", "gone_at"):
            assert getattr(theirs, name) == getattr(ours, name)


@given(total=seconds, waits=pauses)
def test_the_end_never_moves_away(total: float, waits: list[float]) -> None:
    """
    Asking again only ever brings the end nearer.
    """
    now, before = 0.0, math.inf
    ours = None
    for wait in [0.0, *waits]:
        now += wait
        ours = ending.asked_to_stop(ours, total, now)

        assert ours.gone_at <= before
        before = ours.gone_at
