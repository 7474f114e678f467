"""
A pytest plugin for `tools/old.py`: counts the cases that pass with the pattern being replaced.

Only tests that start the program under test count; a test of a part of the supervisor would pass
as well and mean nothing.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.catalogue import case_of
from tests.support.subjects import Launch, Old

#: The families of cases about the process; the others need features that only the supervisor has.
FAMILIES = "PDF"
STARTED = "started the old pattern"

_started: set[Old] = set()
_outcomes: dict[str, dict[str, int]] = {}


def pytest_configure() -> None:
    """
    Record each start of the old pattern.
    """
    launch = Old.launch

    def recorded(old: Old, home: Path, settings: Mapping[str, str]) -> Launch:
        _started.add(old)
        return launch(old, home, settings)

    Old.launch = recorded  # type: ignore[assignment, method-assign]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Keep the tests with a case of these families.
    """
    items[:] = [item for item in items if (case_of(item.name) or "-")[0] in FAMILIES]


def pytest_runtest_setup() -> None:
    """
    Clear the recorded starts.
    """
    _started.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """
    Mark the report of a test that started it, also in a worker process.
    """
    if call.when == "call" and _started:
        item.user_properties.append((STARTED, True))
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """
    Count the outcome of the case.
    """
    case = case_of(report.nodeid.rsplit("::", 1)[-1])
    started = (STARTED, True) in map(tuple, report.user_properties)
    crashed = str(report.when) == "???"  # a timeout ended the worker
    if case and (crashed or (report.when == "call" and started)):
        counts = _outcomes.setdefault(case, {"passed": 0, "failed": 0, "skipped": 0})
        counts[report.outcome] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """
    Write the counts to AUTOEXIT_CASE_COUNTS.
    """
    if not hasattr(session.config, "workerinput"):
        Path(os.environ["AUTOEXIT_CASE_COUNTS"]).write_text(json.dumps(_outcomes))
