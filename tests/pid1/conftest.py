"""
Fixtures that start the program under test and wait until it serves.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.support.exec_process import ExecProcess
from tests.support.fake_nomad import FakeNomad
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually


@pytest.fixture
def prepare(nomad: FakeNomad) -> Iterator[Callable[..., Supervised]]:
    """
    Prepare a program whose service lists these replicas: `prepare(one, two, TTL="5s")`.

    It is not started.  Its output is shown when the test fails.
    """
    prepared: list[Supervised] = []

    def make(*replicas: Replica, **options: Any) -> Supervised:
        # On a busy machine, too, the first configuration must contain the replicas.
        subject = Supervised(nomad, **{"START_WAIT": "5s", **options})
        prepared.append(subject)
        subject.offer(*replicas)
        return subject

    yield make
    for subject in reversed(prepared):
        with suppress(AssertionError):  # never started
            sys.stdout.write(subject.recent_output + "\n")
        subject.close()


@pytest.fixture
def serve(prepare: Callable[..., Supervised]) -> Callable[..., Supervised]:
    """
    Start a program on these replicas and return it once one of them responds through it.
    """

    def start(*replicas: Replica, **options: Any) -> Supervised:
        subject = prepare(*replicas, **options).start()
        subject.ready(status=200)
        if subject.subject.name == "ours":
            subject.wait_for_log("reload.applied", mode="serve")
        eventually(
            lambda: len(subject.nginx_workers()) == _configured_workers(subject), what="all workers"
        )
        return subject

    return start


def _configured_workers(subject: Supervised) -> int:
    """
    Return the number of workers in the configuration.
    """
    configs = [path.read_text() for path in subject.home.rglob("nginx.conf")]
    found = re.search(r"^worker_processes (\d+);", configs[-1], re.MULTILINE)
    assert found is not None
    return int(found[1])


@pytest.fixture
def run_exec() -> Iterator[Callable[..., ExecProcess]]:
    """
    Start a command under `exec`: `run_exec("sleep", "9", TTL="5s", pid1=False)`.
    """
    started: list[ExecProcess] = []

    def start(*command: str, **options: Any) -> ExecProcess:
        subject = ExecProcess(*command, **options)
        started.append(subject)
        return subject

    yield start
    for subject in reversed(started):
        sys.stdout.write(f"{subject.lines}\n{subject.output}\n")
        subject.close()
