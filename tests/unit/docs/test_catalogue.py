"""
The claimed cases of the catalogue and the tests that cover them.
"""

from tests.support.catalogue import IN_THE_IMAGE, case_of, covered, missing, tests_in, unknown


def test_every_claimed_case_has_a_test() -> None:
    """
    Each claimed ID is in the name of at least one test.
    """
    assert [] == missing(covered())


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

    assert ["test_P01_x"] == list(tests_in(source))
