import math

import pytest

from benchmarks.comparison import compare
from benchmarks.findings import Finding, Unit, Value


def finding(number: float, noise: float = 1.0, name: str = "a change", **given: object) -> Finding:
    """
    Return a finding in milliseconds, unless it is given another unit.
    """
    return Finding(**{"measure": name, "unit": Unit.MS, "ours": Value(number, noise, 10), **given})


@pytest.mark.parametrize(
    "last,this,has_moved",
    [
        pytest.param((50, 3), (54, 3), True, id="by more than both noises"),
        pytest.param((50, 3), (46, 3), True, id="the other way"),
        pytest.param((50, 3), (53, 3), False, id="by the noise"),
        pytest.param((50, 9), (54, 3), False, id="the last run was noisy"),
        pytest.param((50, 3), (54, 9), False, id="this run is noisy"),
        pytest.param((0, 0), (1, 0), True, id="one lost request"),
        pytest.param((0, 0), (0, 0), False, id="none as before"),
        pytest.param((50, 3), (math.nan, math.nan), False, id="no value"),
    ],
)
def test_a_measure_has_moved_if_it_differs_by_more_than_the_noise_of_either_run(
    last: tuple[float, float], this: tuple[float, float], *, has_moved: bool
) -> None:
    """
    A noisy run proves nothing, whichever of both it is.
    """
    (found,) = compare([finding(*last)], [finding(*this)])

    assert has_moved is found.has_moved


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_whether_more_is_better_depends_on_the_measure(*, higher_is_better: bool) -> None:
    """
    Less time is better, and more throughput.
    """
    before, after = (finding(number, higher_is_better=higher_is_better) for number in (50.0, 60.0))
    (risen,), (fallen,) = compare([before], [after]), compare([after], [before])

    assert (10, higher_is_better) == (risen.difference, risen.is_better)
    assert (-10, not higher_is_better) == (fallen.difference, fallen.is_better)


def test_measures_of_one_run_only_are_listed_and_have_not_moved() -> None:
    """
    A measure that is new, or is gone, is seen in the table.
    """
    found = compare(
        [finding(1, name="gone"), finding(2, name="kept")],
        [finding(3, name="new"), finding(4, name="kept")],
    )

    assert ["new", "kept", "gone"] == [each.measure for each in found]
    assert [None, 2, None] == [each.difference for each in found]
    assert [False, True, False] == [each.has_moved for each in found]


def test_numbers_in_other_units_are_not_compared() -> None:
    """
    A measure whose unit has changed is a new one.
    """
    (found,) = compare([finding(1, unit=Unit.SECONDS)], [finding(1000)])

    assert found.last is None
