import random
from collections.abc import Callable

import pytest

from tests.support.soak.flatness import Allowance, judged

COUNTED = Allowance(once=3, per_change=0.02)
HELD = Allowance(once=150, per_change=0.3)

#: The changes of a soak of ten minutes: two a second, each with a sample.
CHANGES = range(800)


def series(grows: Callable[[int], float], noise: float) -> list[float]:
    """
    Return a value for each change, with added noise.
    """
    rng = random.Random(1)
    return [grows(change) + rng.uniform(-noise, noise) for change in CHANGES]


@pytest.mark.parametrize(
    "grows,noise,allowance",
    [
        pytest.param(lambda _: 12, 3, COUNTED, id="files come and go"),
        pytest.param(lambda change: 12 + 30 * (change % 100 == 7), 0, COUNTED, id="peaks"),
        pytest.param(lambda change: 40_000 + min(change, 300) * 2, 60, HELD, id="it warms up"),
        pytest.param(lambda change: 40_000 + 130 * (change > 600), 60, HELD, id="one step"),
        pytest.param(lambda change: 40_000 - change, 60, HELD, id="it falls"),
    ],
)
def test_noise_a_step_and_a_warm_up_are_flat(
    grows: Callable[[int], float], noise: float, allowance: Allowance
) -> None:
    """
    The series of a program without leaks, over ten minutes on a busy machine, are flat.
    """
    assert judged(CHANGES, series(grows, noise), allowance).is_flat


@pytest.mark.parametrize(
    "grows,noise,allowance",
    [
        pytest.param(lambda change: 12 + change, 3, COUNTED, id="a file each"),
        pytest.param(lambda change: 12 + change // 10, 3, COUNTED, id="a file with every tenth"),
        pytest.param(lambda change: 40_000 + change, 60, HELD, id="1 kB each"),
        pytest.param(lambda change: 40_000 + change // 130 * 132, 60, HELD, id="1 kB, by steps"),
    ],
)
def test_a_small_leak_is_not_flat(
    grows: Callable[[int], float], noise: float, allowance: Allowance
) -> None:
    """
    One file or 1 kB leaked with each change exceeds the noise after ten minutes.
    """
    found = judged(CHANGES, series(grows, noise), allowance)

    assert not found.is_flat
    assert found.last > found.first


def test_a_run_without_changes_has_no_slope() -> None:
    """
    Samples that all belong to one change have no slope and cause no error.
    """
    found = judged([5, 5, 5], [1, 2, 3], COUNTED)

    assert found.is_flat
    assert 0 == found.per_change
