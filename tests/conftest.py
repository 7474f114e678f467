"""
Fixtures of all tiers, and the check of test names against the catalogue.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support.catalogue import IN_THE_IMAGE, case_of, unknown
from tests.support.fake_nginx import FakeNginx
from tests.support.fake_nomad import FakeNomad
from tests.support.replica import Replica
from tests.support.subjects import chosen
from tests.support.supervised import Supervised

# A slow example means that the machine is busy, not that the code is wrong.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Reject tests with an ID that is not in the catalogue.
    """
    strangers = unknown(case for item in items if (case := case_of(item.name)))
    if strangers:
        msg = f"tests carry IDs that tests/support/catalogue.py does not claim: {strangers}"
        raise pytest.UsageError(msg)
    if chosen() == "image":
        kept = [item for item in items if is_for_the_image(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


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
