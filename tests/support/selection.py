"""
Which tests `make test` and `make test-all` select, and the order in which they start.

Both pass `--select` to pytest.  Without it, pytest runs all the tests that its arguments name.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

TESTS = Path(__file__).parent.parent

#: Markers of tests that have targets of their own: the image, and real Nomad agents.
OTHER_TARGETS = frozenset({"container", "e2e"})

#: Folders and markers of tests that `make test` leaves to `make test-all`.
_REST = frozenset({"budget", "contract", "doubles", "load", "second_nginx", "slow"})

#: Tests that mostly wait start first, tests that only compute start last and fill the idle tail.
_ORDER = ("browser", "load", "pid1", "integration", "contract", "doubles", "budget", "unit")

#: One slow test for this number of others: at most two of five workers wait in slow tests.
_SLOW_EVERY = 30


def slow(*values: object, id: str | None = None) -> ParameterSet:  # noqa: A002 - as pytest.param
    """
    Return a case for `pytest.mark.parametrize` that `make test` leaves to `make test-all`.
    """
    return pytest.param(*values, id=id, marks=pytest.mark.slow)


def is_selected(folder: str, markers: Iterable[str], selection: str) -> bool:
    """
    Return whether a selection, "quick" or "all", contains a test with these markers.
    """
    if not OTHER_TARGETS.isdisjoint(markers):
        return False
    return selection == "all" or _REST.isdisjoint((folder, *markers))


def folder_of(item: pytest.Item) -> str:
    """
    Return the folder in tests/ that contains a test, such as "unit".
    """
    return item.path.relative_to(TESTS).parts[0]


def in_start_order(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """
    Return tests in the order in which they start.

    Slow tests wait most of the time: they are spread, so that other tests run at the same time.
    """
    ordered, slow = list[pytest.Item](), list[pytest.Item]()
    for item in sorted(items, key=_rank):
        (slow if item.get_closest_marker("slow") else ordered).append(item)
    for number, item in enumerate(slow):
        ordered.insert(number * _SLOW_EVERY, item)
    return ordered


def _rank(item: pytest.Item) -> int:
    folder = folder_of(item)
    return _ORDER.index(folder) if folder in _ORDER else len(_ORDER)


def work_unit(nodeid: str) -> str:
    """
    Return the name of the unit that one worker runs without interruption.

    This is the module where its tests share a fixture or are short, and otherwise the single test.
    """
    path = nodeid.partition("::")[0]
    return path if path.startswith(("tests/unit/", "tests/browser/")) or _shares(path) else nodeid


@cache
def _shares(path: str) -> bool:
    return 'scope="module"' in (TESTS.parent / path).read_text()
