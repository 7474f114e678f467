import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.nginxes import BOTH
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]

nginxes = pytest.mark.parametrize("nginx", BOTH)


@pytest.fixture
def one() -> Iterator[Replica]:
    """
    The replica behind the program.
    """
    with Replica("one") as replica:
        yield replica


def serving(supervise: Supervise, replica: Replica, nginx: str | Path) -> Supervised:
    """
    Start the program and return it once it serves the replica.
    """
    subject = supervise(NGINX_BINARY=str(nginx), START_WAIT="5s")
    subject.offer(replica)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    return subject


def assert_recovery(subject: Supervised, began: float) -> None:
    """
    Assert that the outage is detected within 5 s and ends soon after.
    """
    subject.wait_for_log("nginx.unresponsive", 7.0)
    detected = time.monotonic() - began
    eventually(lambda: "one" == subject.get(timeout=0.3).text, 10.0)
    recovered = time.monotonic() - began
    print(f"detected after {detected:.2f} s, recovered after {recovered:.2f} s")

    assert detected <= 5.0
    assert subject.running


@nginxes
def test_suspended_workers_are_detected_and_replaced(
    supervise: Supervise, one: Replica, nginx: str
) -> None:
    """
    All workers are suspended: the port is open and the master runs, but there is no response.  A
    reload starts new workers.
    """
    subject = serving(supervise, one, nginx)
    master, began = subject.nginx_master(), time.monotonic()
    for pid in subject.nginx_workers():
        os.kill(pid, signal.SIGSTOP)

    assert_recovery(subject, began)

    subject.wait_for_log("reload.revived")
    assert master == subject.nginx_master()


@nginxes
def test_a_suspended_nginx_is_detected_and_replaced(
    supervise: Supervise, one: Replica, nginx: str
) -> None:
    """
    Master and workers are suspended: the master is resumed, reloads, and starts new workers.
    """
    subject = serving(supervise, one, nginx)
    master, began = subject.nginx_master(), time.monotonic()
    assert master is not None
    for pid in (*subject.nginx_workers(), master):
        os.kill(pid, signal.SIGSTOP)

    assert_recovery(subject, began)


@nginxes
def test_workers_that_are_not_respawned_are_detected_and_replaced(
    supervise: Supervise, one: Replica, nginx: str, tmp_path: Path
) -> None:
    """
    Workers exit with fatal code 2, after which nginx does not respawn them: its master runs without
    any.  A reload starts them once they can run.
    """
    folder, wrapper = Path("/tmp") / f"ax-needed-{os.getpid()}", tmp_path / "fragile-nginx"
    folder.mkdir(mode=0o755)
    real = shutil.which(nginx)
    wrapper.write_text(f'#!/bin/sh\nexec {real} "$@" -g "working_directory {folder};"\n')
    wrapper.chmod(0o755)
    try:
        subject = serving(supervise, one, wrapper)
        folder.rmdir()
        began = time.monotonic()

        def end_workers() -> bool:
            """Kill the present workers; more may still be starting."""
            found = subject.nginx_workers()
            for pid in found:
                os.kill(pid, signal.SIGKILL)
            return not found and bool(subject.nginx_master())

        eventually(end_workers)
        subject.wait_for_log("nginx.unresponsive", 7.0)
        assert time.monotonic() - began <= 6.0  # killing them all takes a moment
        folder.mkdir(mode=0o755)

        assert "one" == subject.ready(status=200, within=15).text
        assert subject.running
    finally:
        folder.rmdir()
