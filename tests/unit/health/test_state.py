"""
How probe results change the health state, and how long the pause to the next probe is.
"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.model import HealthState
from supervisor.core.probe_outcome import Outcome, OutcomeKind
from supervisor.health import state as health
from supervisor.health.state import ProbeRecord, ProbeResult

READY, SLOW, FAILING = HealthState.READY, HealthState.SLOW, HealthState.FAILING
STARTING, UNKNOWN = HealthState.STARTING, HealthState.UNKNOWN

RESULTS = {
    "+": ProbeResult.PASSED,
    "r": ProbeResult.REFUSED,
    "f": ProbeResult.FAILED,
    "t": ProbeResult.TIMED_OUT,
}


def after(
    history: str, *, rise: int = 1, fall: int = 2, was_ready: bool = False, every: float = 1.0
) -> ProbeRecord:
    """Apply a history of results, one a second from 100 s on."""
    now, record = 100.0, health.new_record(100.0, was_ready=was_ready)
    for letter in history:
        now += every
        record = health.apply_result(record, RESULTS[letter], now, rise, fall)
    return record


def pause(record: ProbeRecord, now: float = 100.0, **options: float | bool) -> float:
    """Return the pause, of one of ten endpoints, in the middle of the jitter."""
    defaults = {
        "has_fast_slot": False,
        "is_leaving": False,
        "endpoints_total": 10,
        "interval": 5.0,
        "chance": 0.5,
    }
    return health.pause(record, now, **(defaults | options))  # type: ignore[arg-type]


@pytest.mark.parametrize("rise", [1, 3])
def test_a_new_endpoint_is_starting_until_it_has_passed_often_enough(rise: int) -> None:
    """
    `rise` passes in a row make it ready; a failure in between resets the count.
    """
    assert UNKNOWN is after("", rise=rise).health_state
    for failure in "rft":
        assert STARTING is after(failure, rise=rise).health_state
        assert STARTING is after(failure * 9, rise=rise).health_state
        assert STARTING is after("+" * (rise - 1) + failure, rise=rise).health_state
        assert READY is after(failure + "+" * rise, rise=rise).health_state
    assert READY is after("+" * rise, rise=rise).health_state
    assert not after("f" * 9).was_ready


def test_a_first_pass_that_is_not_enough_reports_starting() -> None:
    """
    The plan waits for a first state of each endpoint, so one is reported.
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
def test_a_ready_endpoint_is_removed_after_failures_in_a_row(
    history: str, fall: int, health_state: HealthState
) -> None:
    """
    Timeouts alone make it slow, any other failure among them failing; a refusal counts double.
    """
    assert health_state is after("+" + history, fall=fall).health_state


def test_a_failed_endpoint_recovers_after_as_many_passes_as_a_new_one() -> None:
    """
    A failed endpoint stays so until `rise` passes in a row, and is never starting again.
    """
    for history, health_state in (("++rr", FAILING), ("++tt", SLOW)):
        assert health_state is after(history + "+", rise=2).health_state
        assert health_state is after(history + "+f+", rise=2).health_state
        assert READY is after(history + "++", rise=2).health_state


@pytest.mark.parametrize(
    "history, health_state",
    [("", UNKNOWN), ("+", UNKNOWN), ("++", READY), ("f", UNKNOWN), ("r", FAILING), ("tt", SLOW)],
)
def test_an_endpoint_cached_as_ready_is_removed_like_a_ready_one(
    history: str, health_state: HealthState
) -> None:
    """
    After a restart no endpoint that served before is reported as starting.
    """
    assert health_state is after(history, was_ready=True, rise=2).health_state


@pytest.mark.parametrize("kind", OutcomeKind)
def test_an_outcome_counts_as_one_of_four_results(kind: OutcomeKind) -> None:
    """
    Refused counts double and timeouts alone are no failure; every other outcome is one.
    """
    expected = {
        OutcomeKind.PASSED: ProbeResult.PASSED,
        OutcomeKind.REFUSED: ProbeResult.REFUSED,
        OutcomeKind.CONNECT_TIMEOUT: ProbeResult.TIMED_OUT,
        OutcomeKind.RESPONSE_TIMEOUT: ProbeResult.TIMED_OUT,
    }

    assert expected.get(kind, ProbeResult.FAILED) is health.result_of(Outcome(kind))


def test_repeated_passes_create_no_new_record() -> None:
    """
    Ten thousand endpoints that pass repeatedly allocate no memory.
    """
    record = after("++")

    assert health.apply_result(record, ProbeResult.PASSED, 200.0, 1, 2) is record


def test_only_times_out_means_only_timeouts_since_the_last_pass() -> None:
    """
    Its next probe may take the whole timeout again; one that refused responds at once.
    """
    assert [False, True, False, False] == [
        health.only_times_out(after(history)) for history in ("+", "+t", "+tf", "+t+")
    ]


def test_replacing_the_state_resets_the_counts() -> None:
    """
    An endpoint that another checker found ready was ready once; every count starts at 0.
    """
    replaced = health.replace_state(after("+f"), FAILING, 300.0)

    assert ProbeRecord(FAILING, True, 0, 0, 0, 300.0) == replaced
    assert not health.replace_state(after("f"), STARTING, 300.0).was_ready
    assert health.replace_state(after("f"), READY, 300.0).was_ready


# --------------------------------------------------------------------------------- intervals


def test_an_endpoint_that_is_not_ready_wants_a_fast_slot_for_a_minute() -> None:
    """
    The minute starts when the endpoint is new, and again when it fails; it keeps the slot until its
    interval has grown to the slow one.
    """
    assert health.wants_fast_slot(after(""), 160.0)
    assert health.wants_fast_slot(after("f"), 161.8)
    assert not health.wants_fast_slot(after("f"), 162.0)
    assert not health.wants_fast_slot(after("+"), 102.0)
    assert health.wants_fast_slot(after("+rt", every=100.0), 360.0)
    assert not health.wants_fast_slot(after("+rt", every=100.0), 362.0)


def test_in_a_fast_slot_the_interval_is_50_ms_and_then_grows() -> None:
    """
    After 60 s each pause is longer by half than the one before, up to a second.
    """
    record = after("f")
    assert (
        0.05 == pause(record, 100.0, has_fast_slot=True) == pause(record, 160.0, has_fast_slot=True)
    )

    now, pauses = 160.0, [0.05]
    while pauses[-1] < 1.0:
        now += pauses[-1]
        pauses.append(pause(record, now, has_fast_slot=True))

    for previous, following in pairwise(pauses[:-1]):
        assert following == pytest.approx(1.5 * previous)
    assert 1.0 == pauses[-1]


def test_without_a_fast_slot_it_is_probed_once_a_second() -> None:
    """
    With many endpoints the interval is longer.
    """
    assert 1.0 == pause(after("f")) == pause(after("+r"))
    assert 4.0 == pause(after("f"), endpoints_total=10_000)


def test_a_ready_endpoint_is_probed_at_the_interval_with_jitter() -> None:
    """
    A tenth less to a tenth more, so that endpoints do not stay synchronized.
    """
    chances = [pause(after("++"), chance=chance) for chance in (0.0, 0.5, 1.0)]

    assert pytest.approx([4.5, 5.0, 5.5]) == chances


def test_the_first_pause_of_a_ready_endpoint_is_any_part_of_the_interval() -> None:
    """
    Endpoints that become ready together are spread immediately.
    """
    assert 0.5 == pytest.approx(pause(after("+"), chance=0.0))
    assert 5.5 == pytest.approx(pause(after("+"), chance=1.0))


def test_after_a_failure_a_ready_endpoint_is_probed_again_soon() -> None:
    """
    Within a second after a failure; at the interval after a timeout, because it may be busy.
    """
    assert 1.0 == pause(after("++f"))
    assert 0.2 == pause(after("++f"), interval=0.2)
    assert 5.0 == pytest.approx(pause(after("++t")))
    assert 5.0 == pytest.approx(pause(after("+t")))


def test_a_leaving_endpoint_is_probed_five_times_a_second() -> None:
    """
    It serves only while its probes pass, ready or not; with many endpoints the interval is longer.
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
def test_invariants_after_any_history(history: str, rise: int, fall: int, was_ready: bool) -> None:  # noqa: FBT001
    """
    Ready needs `rise` passes in a row, not ready needs `fall` failures since, an endpoint that was
    ready is never starting, and timeouts alone never make it failing.
    """
    record = after(history, rise=rise, fall=fall, was_ready=was_ready)
    was_ready = was_ready or "+" * rise in history
    since_pass = history.rpartition("+")[2]

    assert record.was_ready == was_ready
    assert (record.health_state is STARTING) == bool(history and not was_ready)
    if history.endswith("+" * rise):
        assert READY is record.health_state
    if was_ready and len(since_pass) >= fall:
        assert record.health_state in {SLOW, FAILING}
    if not set(history) & set("rf"):
        assert record.health_state is not FAILING
    assert 0 <= record.failures <= fall
    assert 0 <= record.hard_failures <= record.failures


@pytest.mark.parametrize("fall", [1, 2, 5, 100])
def test_a_suspect_that_refuses_is_failing_at_once(fall: int) -> None:
    """
    Nginx could not connect either: HEALTH_FALL needs no second probe.  Other failures count as
    always, so a single lost packet removes nothing.
    """
    ready = after("+")
    for result, is_out in (
        (ProbeResult.REFUSED, True),
        (ProbeResult.FAILED, fall == 1),
        (ProbeResult.TIMED_OUT, fall == 1),
        (ProbeResult.PASSED, False),
    ):
        record = health.apply_result(ready, result, 200.0, 1, fall, is_suspected=True)
        assert is_out == (record.health_state is not READY)
    assert (
        FAILING
        is health.apply_result(
            after("+"), ProbeResult.REFUSED, 200.0, 1, fall, is_suspected=True
        ).health_state
    )


def test_a_suspect_is_probed_ten_times_a_second() -> None:
    """
    Until a probe passes or enough have failed.
    """
    assert 0.1 == pause(after("+f"), is_suspected=True)
    assert 0.1 == pause(after("+"), is_suspected=True, endpoints_total=10_000)
    assert 0.1 == pause(after("+"), is_suspected=True, is_leaving=True)
