import math

import pytest

from benchmarks.findings import STEADY, Finding, Unit, Value, count, middle, once, ratio, tail


@pytest.mark.parametrize(
    "number,goal,higher_is_better,holds",
    [
        pytest.param(44, 45, False, True, id="below"),
        pytest.param(45, 45, False, False, id="not below"),
        pytest.param(0, 0, False, True, id="none"),
        pytest.param(1, 0, False, False, id="one"),
        pytest.param(0.98, 0.98, True, True, id="at least"),
        pytest.param(0.97, 0.98, True, False, id="too little"),
        pytest.param(1e9, None, False, True, id="no goal"),
        pytest.param(math.nan, 45, False, False, id="not measured"),
        pytest.param(math.nan, 0.98, True, False, id="not measured, more is better"),
    ],
)
def test_a_goal_holds(
    number: float, goal: float | None, *, higher_is_better: bool, holds: bool
) -> None:
    """
    A goal is a bound from one side; what has no value meets none.
    """
    found = Finding(
        measure="a",
        unit=Unit.MS,
        ours=once(number),
        goal=goal,
        higher_is_better=higher_is_better,
    )

    assert holds is found.holds


def test_the_noise_of_a_median_is_the_interquartile_range() -> None:
    """
    In the finding's unit, as the number itself.
    """
    assert Value(30, 20, 5) == middle([0.01, 0.02, 0.03, 0.04, 0.05], 1000)


def test_the_noise_of_a_tail_is_its_distance_from_the_90th_percentile() -> None:
    """
    The worst of few rounds moves by what separates it from the next ones.
    """
    assert Value(99, 9, 100) == tail(range(1, 101))


@pytest.mark.parametrize(
    "value,noise",
    [
        pytest.param(middle([100.0] * 4), 5, id="rounds that agree"),
        pytest.param(middle([100.0] * 3), 15, id="few rounds"),
        pytest.param(once(100.0), 15, id="one round"),
        pytest.param(count(100), 0, id="events"),
        pytest.param(once(100.0, STEADY), 2, id="memory"),
        pytest.param(middle([100.0] * 3, 1.0, STEADY), 2, id="memory in a few rounds"),
        pytest.param(middle([90.0, 100.0, 100.0], 1.0, STEADY), 10, id="rounds that do not"),
    ],
)
def test_a_measured_value_is_never_without_noise(value: Value, noise: float) -> None:
    """
    Another run differs, even if the rounds of one agree; but each event counts.
    """
    assert noise == pytest.approx(value.noise)


def test_a_ratio_is_as_noisy_as_both_of_its_values_together() -> None:
    """
    Of two values with a tenth of noise each it is a fifth.
    """
    assert Value(0.5, 0.1, 8) == ratio(Value(50, 5, 10), Value(100, 10, 8))


def test_no_rounds_give_no_number() -> None:
    """
    If no change was applied there is no median.
    """
    assert math.isnan(middle([]).number)
    assert math.isnan(ratio(middle([]), once(3)).number)
