"""
The claims of the catalogue, and the tests that carry them.
"""

from tests.support.catalogue import IN_THE_IMAGE, case_of, covered, missing, tests_in, unknown


def test_every_claimed_case_has_a_test() -> None:
    """
    Each ID which this project claims is carried by at least one test.
    """
    assert [] == missing(covered())


def test_no_test_carries_an_unknown_id() -> None:
    """
    An ID in a test's name is one of those claimed: a slip of the pen hides a gap.
    """
    assert [] == unknown(covered())


def test_every_case_of_the_image_has_a_test_there() -> None:
    """
    What is to be run with the image is carried by a test of a tier that `make container` runs.
    """
    found = covered()
    tiers = ("container/", "pid1/", "integration/")

    assert [] == sorted(
        case
        for case in IN_THE_IMAGE
        if not any(place.startswith(tiers) for place in found.get(case, []))
    )


def test_an_id_is_read_from_the_name() -> None:
    """
    Letter and digits right after test_ are the ID; other names carry none.
    """
    assert ["P01", None, "D18", "E999"] == [
        case_of(name)
        for name in ("test_P01_orphans", "test_plain", "test_D18[x]", "test_E999_typo")
    ]


def test_sources_are_read_not_imported() -> None:
    """
    A test counts where its module cannot be imported, and inside a class.
    """
    source = "import nowhere\nclass TestIt:\n    def test_P01_x(self): ...\ndef helper(): ...\n"

    assert ["test_P01_x"] == list(tests_in(source))
