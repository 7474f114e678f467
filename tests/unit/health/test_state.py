"""
What follows from a verdict, and how soon an endpoint is asked again.
"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.model import HealthState
from supervisor.health import state as health
from supervisor.health.state import ProbeRecord, ProbeResult

READY, SLOW, FAILING = HealthState.READY, HealthState.SLOW, HealthState.FAILING
STARTING, UNKNOWN = HealthState.STARTING, HealthState.UNKNOWN

VERDICTS = {
    "+": ProbeResult.PASSED,
    "r": ProbeResult.REFUSED,
    "f": ProbeResult.FAILED,
    "t": ProbeResult.TIMED_OUT,
}


def after(
    history: str, *, rise: int = 1, fall: int = 2, was_ready: bool = False, every: float = 1.0
) -> ProbeRecord:
    """Live through a history of verdicts, one a second from 100 s on."""
    now, state = 100.0, health.new_record(100.0, was_ready=was_ready)
    for letter in history:
        now += every
        state = health.judge(state, VERDICTS[letter], now, rise, fall)
    return state


def pause(state: ProbeRecord, now: float = 100.0, **given: float | bool) -> float:
    """Ask for the pause, of ten endpoints, in the middle of the jitter."""
    ways = {
        "has_fast_slot": False,
        "is_leaving": False,
        "endpoints_total": 10,
        "interval": 5.0,
        "chance": 0.5,
    }
    return health.pause(state, now, **(ways | given))  # type: ignore[arg-type]


@pytest.mark.parametrize("rise", [1, 3])
def test_what_was_never_ready_starts_until_it_has_passed_often_enough(rise: int) -> None:
    """
    Being listed is not being ready: `rise` passes in a row are, and a failure between ends the row.
    """
    assert UNKNOWN is after("", rise=rise).health_state
    for failure in "rft":
        assert STARTING is after(failure, rise=rise).health_state
        assert STARTING is after(failure * 9, rise=rise).health_state
        assert STARTING is after("+" * (rise - 1) + failure, rise=rise).health_state
        assert READY is after(failure + "+" * rise, rise=rise).health_state
    assert READY is after("+" * rise, rise=rise).health_state
    assert not after("f" * 9).was_ready


def test_a_first_pass_that_is_not_enough_is_told_as_starting() -> None:
    """
    The plan waits for a first word on each endpoint, so there is one.
    """
    assert STARTING is after("+", rise=2).health_state


@pytest.mark.parametrize(
    "history, fall, health_state",
    [
        ("f", 2, READY),
        ("t", 2, READY),
        ("r", 2, FAILING),  # counts double
        ("r", 3, READY),
        ("rf", 3, FAILING),
        ("ff", 2, FAILING),
        ("f", 1, FAILING),
        ("tt", 2, SLOW),
        ("tf", 2, FAILING),
        ("ft", 2, FAILING),
        ("f+f", 2, READY),
        ("t+t+t", 2, READY),
        ("ttr", 2, FAILING),
        ("ttf", 2, SLOW),
        ("ttff", 2, FAILING),
        ("ttftf", 2, FAILING),
        ("tttt", 2, SLOW),
        ("rt", 2, FAILING),
        ("rttt", 2, FAILING),
        ("tt+", 2, READY),
        ("r+", 2, READY),
        ("r+f", 2, READY),
    ],
)
def test_what_was_ready_is_lost_by_failures_in_a_row(
    history: str, fall: int, health_state: HealthState
) -> None:
    """
    Timeouts alone make it slow, anything worse among them failing; a refusal counts double.
    """
    assert health_state is after("+" + history, fall=fall).health_state


def test_what_is_lost_comes_back_after_as_many_passes_as_a_newcomer() -> None:
    """
    A lost endpoint stays lost until `rise` passes in a row, and is never starting again.
    """
    for lost, health_state in (("++rr", FAILING), ("++tt", SLOW)):
        assert health_state is after(lost + "+", rise=2).health_state
        assert health_state is after(lost + "+f+", rise=2).health_state
        assert READY is after(lost + "++", rise=2).health_state


@pytest.mark.parametrize(
    "history, health_state",
    [("", UNKNOWN), ("+", UNKNOWN), ("++", READY), ("f", UNKNOWN), ("r", FAILING), ("tt", SLOW)],
)
def test_one_remembered_as_ready_is_lost_like_a_ready_one(
    history: str, health_state: HealthState
) -> None:
    """
    After a restart nobody who served before is told as starting.
    """
    assert health_state is after(history, was_ready=True, rise=2).health_state


def test_a_quiet_life_costs_no_new_record() -> None:
    """
    Ten thousand endpoints that pass again and again make no garbage.
    """
    state = after("++")

    assert health.judge(state, ProbeResult.PASSED, 200.0, 1, 2) is state


def test_only_timeouts_since_the_last_pass_make_mute() -> None:
    """
    Asking a mute one may take the whole timeout again; one that refused answers at once.
    """
    assert [False, True, False, False] == [
        health.is_silent(after(history)) for history in ("+", "+t", "+tf", "+t+")
    ]


def test_taking_over_what_others_found_counts_from_nothing() -> None:
    """
    Whoever was ready for somebody is proven, and every count begins anew.
    """
    taken = health.adopted(after("+f"), FAILING, 300.0)

    assert ProbeRecord(FAILING, True, 0, 0, 0, 300.0) == taken
    assert not health.adopted(after("f"), STARTING, 300.0).was_ready
    assert health.adopted(after("f"), READY, 300.0).was_ready


# ------------------------------------------------------------------------------------- paces


def test_whoever_does_not_serve_wants_a_place_for_a_minute() -> None:
    """
    The minute begins when it is met, and anew when it is lost; while it grows calm it keeps it.
    """
    assert health.wants_fast_slot(after(""), 160.0)
    assert health.wants_fast_slot(after("f"), 161.8)
    assert not health.wants_fast_slot(after("f"), 162.0)
    assert not health.wants_fast_slot(after("+"), 102.0)
    assert health.wants_fast_slot(after("+rt", every=100.0), 360.0)
    assert not health.wants_fast_slot(after("+rt", every=100.0), 362.0)


def test_with_a_place_it_is_asked_every_50_ms_and_then_grows_calm() -> None:
    """
    From 60 s on each pause is half as much again as the one before, up to a second.
    """
    state = after("f")
    assert (
        0.05 == pause(state, 100.0, has_fast_slot=True) == pause(state, 160.0, has_fast_slot=True)
    )

    now, pauses = 160.0, [0.05]
    while pauses[-1] < 1.0:
        now += pauses[-1]
        pauses.append(pause(state, now, has_fast_slot=True))

    for previous, following in pairwise(pauses[:-1]):
        assert following == pytest.approx(1.5 * previous)
    assert 1.0 == pauses[-1]


def test_without_a_place_it_is_asked_once_a_second() -> None:
    """
    So is whoever waits for a place, and a large crowd more seldom.
    """
    assert 1.0 == pause(after("f")) == pause(after("+r"))
    assert 4.0 == pause(after("f"), endpoints_total=10_000)


def test_a_ready_one_is_asked_at_the_interval_with_jitter() -> None:
    """
    A tenth less to a tenth more, so that endpoints do not stay in step.
    """
    chances = [pause(after("++"), chance=chance) for chance in (0.0, 0.5, 1.0)]

    assert pytest.approx([4.5, 5.0, 5.5]) == chances


def test_the_first_pause_of_a_ready_one_is_any_part_of_the_interval() -> None:
    """
    Endpoints that become ready together are spread at once.
    """
    assert 0.5 == pytest.approx(pause(after("+"), chance=0.0))
    assert 5.5 == pytest.approx(pause(after("+"), chance=1.0))


def test_a_doubted_one_is_asked_again_soon() -> None:
    """
    After a failure within a second; after a timeout as ever, because it may be busy.
    """
    assert 1.0 == pause(after("++f"))
    assert 0.2 == pause(after("++f"), interval=0.2)
    assert 5.0 == pytest.approx(pause(after("++t")))
    assert 5.0 == pytest.approx(pause(after("+t")))


def test_one_that_leaves_is_asked_five_times_a_second() -> None:
    """
    It serves only as long as it answers, ready or not; a large crowd is asked more seldom.
    """
    assert 0.2 == pause(after("++"), is_leaving=True)
    assert 0.2 == pause(after("+r"), is_leaving=True, has_fast_slot=True)
    assert 0.4 == pause(after("++"), is_leaving=True, endpoints_total=1000)


@given(
    history=st.text("+rft", max_size=60),
    rise=st.integers(1, 4),
    fall=st.integers(1, 4),
    was_ready=st.booleans(),
)
def test_what_holds_after_any_history(history: str, rise: int, fall: int, was_ready: bool) -> None:  # noqa: FBT001
    """
    Ready needs `rise` passes at the end of some row, lost needs what fell since, starting is never
    said of one that was ready, and timeouts alone never make failing.
    """
    state = after(history, rise=rise, fall=fall, was_ready=was_ready)
    was_ready = was_ready or "+" * rise in history
    since_pass = history.rpartition("+")[2]

    assert state.was_ready == was_ready
    assert (state.health_state is STARTING) == bool(history and not was_ready)
    if history.endswith("+" * rise):
        assert READY is state.health_state
    if was_ready and len(since_pass) >= fall:
        assert state.health_state in {SLOW, FAILING}
    if not set(history) & set("rf"):
        assert state.health_state is not FAILING
    assert 0 <= state.failures <= fall
    assert 0 <= state.hard <= state.failures
