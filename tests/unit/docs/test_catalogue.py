"""
The claimed cases of the catalogue and the tests that cover them.
"""

import pytest

from tests.support.catalogue import (
    CLAIMED,
    IN_THE_IMAGE,
    case_of,
    covered,
    missing,
    tests_in,
    unknown,
)
from tests.support.checkout import CHECKOUT
from tests.support.selection import is_selected

#: Cases that only the image can show: `make container` runs them.
OF_THE_IMAGE = {"S06"}

#: Cases about load, and cases that take long by nature: only `make test-all` runs them.
OF_THE_REST = {"A02", "A07"} | {case for case in CLAIMED if case.startswith("L")}


def test_every_claimed_case_has_a_test() -> None:
    """
    Each claimed ID is in the name of at least one test.
    """
    assert [] == missing(covered())


@pytest.mark.parametrize(
    "target, selection, elsewhere",
    [("test", "quick", OF_THE_IMAGE | OF_THE_REST), ("test-all", "all", OF_THE_IMAGE)],
)
def test_every_claimed_case_is_selected(target: str, selection: str, elsewhere: set[str]) -> None:
    """
    The selection of each target contains every claimed ID, except those listed above.
    """
    recipe = (CHECKOUT / "Makefile").read_text().partition(f"\n{target}: ")[2].partition("\n\n")[0]

    assert f"--select {selection} " in recipe
    assert CLAIMED - elsewhere == covered(selection=selection).keys()


@pytest.mark.parametrize(
    "folder, markers, selections",
    [
        ("pid1", (), {"quick", "all"}),
        ("pid1", ("slow",), {"all"}),
        ("integration", ("parametrize", "second_nginx"), {"all"}),
        ("doubles", (), {"all"}),
        ("contract", ("e2e",), set()),
        ("container", ("container",), set()),
        ("e2e", (), {"quick", "all"}),
    ],
)
def test_folder_and_markers_decide_the_selection(
    folder: str, markers: tuple[str, ...], selections: set[str]
) -> None:
    """
    `make test-all` adds the slow tests, the second nginx, and the tests of the doubles.
    """
    assert selections == {name for name in ("quick", "all") if is_selected(folder, markers, name)}


def test_no_test_has_an_unknown_id() -> None:
    """
    Each ID in a test's name is claimed, because a mistyped ID would hide a gap.
    """
    assert [] == unknown(covered())


def test_every_case_of_the_image_runs_with_the_image() -> None:
    """
    Each case to run with the image has a test in a tier that `make container` runs.
    """
    found = covered()
    tiers = ("container/", "pid1/", "integration/")

    assert [] == sorted(
        case
        for case in IN_THE_IMAGE
        if not any(path.startswith(tiers) for path in found.get(case, []))
    )


def test_an_id_is_read_from_the_name() -> None:
    """
    The ID is the letter and the digits after `test_`; other names have none.
    """
    assert ["P01", None, "D18", "E999"] == [
        case_of(name)
        for name in ("test_P01_orphans", "test_plain", "test_D18[x]", "test_E999_typo")
    ]


def test_sources_are_read_not_imported() -> None:
    """
    A test also counts if its module cannot be imported, and inside a class.
    """
    source = "import nowhere\nclass TestIt:\n    def test_P01_x(self): ...\ndef helper(): ...\n"

    assert [("test_P01_x", frozenset())] == list(tests_in(source))


def test_markers_are_read_with_the_tests() -> None:
    """
    Markers of the module and of the function are those of the test.
    """
    source = "pytestmark = [pytest.mark.load]\n@pytest.mark.slow\ndef test_P01_x(): ...\n"

    assert [("test_P01_x", {"load", "slow"})] == list(tests_in(source))
