"""
Fixtures of all tiers, and the check of test names against the catalogue.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.catalogue import IN_THE_IMAGE, case_of, unknown
from tests.support.fake_nginx import FakeNginx
from tests.support.fake_nomad import FakeNomad
from tests.support.replica import Replica
from tests.support.selection import folder_of, in_start_order, is_selected, work_unit
from tests.support.subjects import chosen
from tests.support.supervised import Supervised

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

# A slow example means that the machine is busy, not that the code is wrong.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


DESELECTED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """
    Add the option that `make test` and `make test-all` set.
    """
    parser.addoption(
        "--select",
        choices=("quick", "all"),
        help="the tests of `make test` or of `make test-all`, of those that the arguments name",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Reject unclaimed IDs, deselect what the selection does not contain, and sort by start order.
    """
    strangers = unknown(case for item in items if (case := case_of(item.name)))
    if strangers:
        msg = f"tests carry IDs that tests/support/catalogue.py does not claim: {strangers}"
        raise pytest.UsageError(msg)
    selection = config.getoption("select")
    kept, rest = list[pytest.Item](), list[pytest.Item]()
    for item in items:
        markers = [marker.name for marker in item.iter_markers()]
        is_kept = (chosen() != "image" or is_for_the_image(item)) and (
            selection is None or is_selected(folder_of(item), markers, selection)
        )
        (kept if is_kept else rest).append(item)
    config.hook.pytest_deselected(items=rest)
    items[:] = in_start_order(kept)
    for item in items:
        if folder_of(item) != "unit":  # the unit tests alone have to reach the coverage
            item.add_marker("no_cover")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> LoadScopeScheduling:
    """
    Start tests in their order, one at a time on each worker.
    """
    config.option.loadscopereorder = False
    return Scheduling(config, log)


class Scheduling(LoadScopeScheduling):
    """
    Run the tests of a work unit on one worker.
    """

    def _split_scope(self, nodeid: str) -> str:
        return work_unit(nodeid)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """
    Count deselected tests: a worker of xdist does not report them.
    """
    if items:
        stash = items[0].config.stash
        stash[DESELECTED] = stash.get(DESELECTED, 0) + len(items)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """
    Report the count from a worker to the controller.
    """
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["deselected"] = session.config.stash.get(DESELECTED, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: "WorkerController") -> None:
    """
    Store the count of a worker: all workers collect the same tests.
    """
    node.config.stash[DESELECTED] = getattr(node, "workeroutput", {}).get("deselected", 0)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """
    Add the numbers of deselected tests and of workers to the totals in the last line.
    """
    workers = config.getoption("numprocesses", None) or 1
    for name, count in (("deselected", config.stash.get(DESELECTED, 0)), ("workers", workers)):
        terminalreporter.stats[name] = [SimpleNamespace()] * count


def is_for_the_image(item: pytest.Item) -> bool:
    """
    Return whether a test runs with the image: container tests, and the cases of IN_THE_IMAGE.
    """
    if item.get_closest_marker("container"):
        return True
    params = getattr(getattr(item, "callspec", None), "params", {})
    return case_of(item.name) in IN_THE_IMAGE and params.get("pid1", True)


@pytest.fixture
def nomad() -> Iterator[FakeNomad]:
    """
    A fake Nomad over TCP, with ACLs off.
    """
    with FakeNomad() as server:
        yield server


@pytest.fixture
def replicas() -> Iterator[Callable[..., list[Replica]]]:
    """
    Start one replica for each name: `replicas("one", "two")`.
    """
    with ExitStack() as stack:
        yield lambda *names: [stack.enter_context(Replica(name)) for name in names]


@pytest.fixture
def supervise(nomad: FakeNomad) -> Iterator[Callable[..., Supervised]]:
    """
    Start the program under test: `supervise(TTL="5s", pid1=False)`.

    Its output is shown when the test fails.
    """
    started: list[Supervised] = []

    def start(**options: Any) -> Supervised:
        subject = Supervised(options.pop("nomad", nomad), **options)
        started.append(subject)
        return subject.start()

    yield start
    for subject in reversed(started):
        sys.stdout.write(subject.recent_output + "\n")
        subject.close()


@pytest.fixture
def fake_nginx(tmp_path: Path) -> FakeNginx:
    """
    A controllable nginx; pass it as `NGINX_BINARY=str(fake_nginx)`.
    """
    return FakeNginx(tmp_path)
