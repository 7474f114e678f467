"""
A pytest plugin for `tools/old.py`: which cases pass against the pattern being replaced.

Only tests that start the program under test count; one that looks at a part of ours by itself
would pass there too and say nothing.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.catalogue import case_of
from tests.support.subjects import Launch, Old

#: The families of cases that are about the process; the others need our endpoints or our admin.
FAMILIES = "PDF"
STARTED = "started the old pattern"

_started: set[Old] = set()
_outcomes: dict[str, dict[str, int]] = {}


def pytest_configure() -> None:
    """
    Notice whenever the old pattern is started.
    """
    launch = Old.launch

    def noticed(old: Old, home: Path, settings: Mapping[str, str]) -> Launch:
        _started.add(old)
        return launch(old, home, settings)

    Old.launch = noticed  # type: ignore[assignment, method-assign]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Keep the tests that carry a case of these families.
    """
    items[:] = [item for item in items if (case_of(item.name) or "-")[0] in FAMILIES]


def pytest_runtest_setup() -> None:
    """
    Forget who was started before.
    """
    _started.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """
    Mark the report of a test that started it, in whichever process the test ran.
    """
    if call.when == "call" and _started:
        item.user_properties.append((STARTED, True))
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """
    Count the outcome under the case.
    """
    case = case_of(report.nodeid.rsplit("::", 1)[-1])
    started = (STARTED, True) in map(tuple, report.user_properties)
    crashed = str(report.when) == "???"  # out of time, and the worker with it
    if case and (crashed or (report.when == "call" and started)):
        counts = _outcomes.setdefault(case, {"passed": 0, "failed": 0, "skipped": 0})
        counts[report.outcome] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """
    Leave the counts where we were asked to.
    """
    if not hasattr(session.config, "workerinput"):
        Path(os.environ["AUTOEXIT_CASE_COUNTS"]).write_text(json.dumps(_outcomes))
