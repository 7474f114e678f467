"""
The test cases this project claims to pass, and the tests that run them.

A test has its case's ID in its name, `test_P01_...`.  The sources are parsed, not imported, so
that a test that cannot be imported on this machine still counts.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.support.selection import OTHER_TARGETS, is_selected

TESTS = Path(__file__).parent.parent


def _range(letter: str, first: int, last: int) -> set[str]:
    return {f"{letter}{number:02}" for number in range(first, last + 1)}


CLAIMED: frozenset[str] = frozenset(
    _range("P", 1, 22)
    | _range("D", 1, 18)
    | _range("F", 1, 12)
    | _range("A", 1, 15)
    | _range("E", 1, 15)
    | _range("L", 1, 11)
    | _range("S", 1, 11)
)

#: Cases that are also run with the image, by AUTOEXIT_SUBJECT=image.
IN_THE_IMAGE: frozenset[str] = frozenset(
    {"P01", "P05", "P07", "P10", "P18", "D01", "D10", "D11", "F05", "S05", "S06", "S10"}
)


def case_of(test: str) -> str | None:
    """
    Return the ID in a test's name, or None.
    """
    found = re.match(r"test_([A-Z]\d+)(?:_|\[|$)", test)
    return found[1] if found else None


def tests_in(source: str) -> Iterator[tuple[str, frozenset[str]]]:
    """
    Yield name and markers of every test function of a module, of those in classes too.

    Markers of the module count, markers of a class or of one parameter do not.
    """
    module = ast.parse(source)
    around = frozenset[str]()
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            around = _markers(node.value)
    for each in ast.walk(module):
        if isinstance(each, ast.FunctionDef) and each.name.startswith("test_"):
            yield each.name, around.union(*map(_markers, each.decorator_list))


def _markers(node: ast.expr) -> frozenset[str]:
    """
    Return the names of the markers in a decorator, or in a list of them.
    """
    parts = node.elts if isinstance(node, ast.List | ast.Tuple) else [node]
    found = (re.match(r"pytest\.mark\.(\w+)", ast.unparse(part)) for part in parts)
    return frozenset(match[1] for match in found if match)


def covered(folder: Path = TESTS, selection: str | None = None) -> dict[str, list[str]]:
    """
    Return the tests that carry each ID: all tests, or those of a selection.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        place = path.relative_to(folder)
        for test, markers in tests_in(path.read_text()):
            case = case_of(test)
            around = markers | (OTHER_TARGETS & {place.parts[0]})
            if case and (selection is None or is_selected(place.parts[0], around, selection)):
                found.setdefault(case, []).append(f"{place}::{test}")
    return found


def missing(found: Mapping[str, list[str]]) -> list[str]:
    """
    Return the claimed IDs without a test.
    """
    return sorted(CLAIMED - found.keys())


def unknown(cases: Iterable[str]) -> list[str]:
    """
    Return the IDs that are not in CLAIMED: a typing error, or a missing claim.
    """
    return sorted(set(cases) - CLAIMED)
