"""
The page about migrating from the replaced pattern.
"""

import re

from tests.support.catalogue import CLAIMED
from tests.support.checkout import CHECKOUT

PAGE = CHECKOUT / "docs" / "migrating.md"


def test_every_case_about_the_process_has_a_row() -> None:
    """
    The table lists exactly the claimed cases P, D and F, in order, each with a result.
    """
    rows = re.findall(r"^\| ([A-Z]\d\d) \|.*\| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)

    expected = [case for letter in "PDF" for case in sorted(CLAIMED) if case[0] == letter]
    assert expected == [case for case, _ in rows]
