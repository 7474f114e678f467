"""
The program under test, serving before a test begins, whichever program it is.
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
    Prepare a program that knows these replicas from its start: `prepare(one, two, TTL="5s")`.

    It is not started; what it said is shown where the test failed.
    """
    prepared: list[Supervised] = []

    def make(*replicas: Replica, **options: Any) -> Supervised:
        # However busy the machine is, the first configuration is the one with the replicas in it.
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
    Start a program on these replicas and return it once it answers with one of them.
    """

    def start(*replicas: Replica, **options: Any) -> Supervised:
        subject = prepare(*replicas, **options).start()
        subject.ready(status=200)
        if subject.subject.name == "ours":
            subject.wait_for_log("reload.applied", mode="serve")
        eventually(lambda: len(subject.nginx_workers()) == _wanted(subject), what="all workers")
        return subject

    return start


def _wanted(subject: Supervised) -> int:
    """
    Return how many workers the configuration asks for.
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
