"""
nginx stands still: its workers are gone, or it was stopped.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.support.deadlines import on_time, run_time
from tests.support.fake_nginx import REAL, FakeNginx
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Replicas = Callable[..., list[Replica]]
Serve = Callable[..., Supervised]


def needing(subject: Supervised) -> Path:
    """
    Give it an nginx whose workers cannot live without a folder, and return the folder.
    """
    folder, path = subject.home / "needed", subject.home / "needy-nginx"
    path.write_text(f'#!/bin/sh\nexec {REAL} "$@" -g "working_directory {folder};"\n')
    path.chmod(0o755)
    subject.settings["NGINX_BINARY"] = str(path)
    return folder


def test_P13_an_nginx_whose_workers_cannot_start_is_noticed(
    prepare: Serve, replicas: Replicas
) -> None:
    """
    The real nginx's workers are gone for good ("exited with fatal code 2 and cannot be respawned")
    while its master lives on and the port is open: noticed within 5 s, and mended when it can be.
    """
    subject = prepare(*replicas("one"))
    folder = needing(subject)
    folder.mkdir(mode=0o755)
    subject.start().ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    folder.rmdir()

    def end_workers() -> bool:
        """Kill those there are: some may still be starting."""
        found = subject.nginx_workers()
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return not found and bool(subject.nginx_master())

    eventually(end_workers)
    subject.wait_for_log("nginx.unresponsive", 5.0)
    folder.mkdir(mode=0o755)

    assert "one" == subject.ready(status=200, within=15).text
    assert subject.running


def test_P13_an_nginx_that_never_had_workers_is_unavailable(
    prepare: Serve, replicas: Replicas
) -> None:
    """
    Where the real nginx's workers cannot start at all the first answer never comes: 69.
    """
    subject = prepare(*replicas("one"), START_TIMEOUT="1s")
    needing(subject)
    subject.start()

    assert 69 == subject.wait(8)
    assert "did not answer within 1s" in subject.logs[-1]["reason"]
    assert "cannot be respawned" in subject.logs[-1]["message"]


def test_P13_an_nginx_that_stays_without_workers_is_not_hidden(
    prepare: Serve, replicas: Replicas, fake_nginx: FakeNginx
) -> None:
    """
    Where nothing brings the workers back, nginx is replaced again and again, and in the end the
    program ends with a code that is not 0.
    """
    fake_nginx.set(run="fake")
    quick = {"VERIFY_TIMEOUT": "500ms", "START_TIMEOUT": "1s"}
    subject = prepare(*replicas("one"), NGINX_BINARY=str(fake_nginx), **quick).start()
    subject.wait_for_log("reload.applied", mode="serve")
    fake_nginx.set(workers=0, answers=False)
    subject.wait_for_log("nginx.unresponsive", 5.0)

    assert 69 == subject.wait(20)
    assert 4 == len(fake_nginx.runs)
    assert subject.log_lines("nginx.replaced")
    assert subject.logs[-1]["reason"]


def test_P14_a_stopped_master_holds_up_no_reload_for_ever(serve: Serve, replicas: Replicas) -> None:
    """
    A master that was stopped heeds no HUP: after VERIFY_TIMEOUT it is awakened, the failure is
    said, and the change is applied.
    """
    one, two = replicas("one", "two")
    subject = serve(one, VERIFY_TIMEOUT="1s")
    os.kill(subject.nginx_master() or 0, signal.SIGSTOP)
    subject.offer(two)
    subject.wait_for_log("reload.failed", 3.0)
    assert "one" == subject.get().text  # the workers serve on

    eventually(lambda: subject.get().text == "two", 6.0)
    assert [] == subject.log_lines("nginx.died")


def test_P14_a_stopped_nginx_is_brought_back(serve: Serve, replicas: Replicas) -> None:
    """
    Where master and workers are stopped nothing answers: noticed within 5 s, and served again.
    """
    (one,) = replicas("one")
    subject = serve(one, VERIFY_TIMEOUT="1s")
    for pid in (*subject.nginx_workers(), subject.nginx_master() or 0):
        os.kill(pid, signal.SIGSTOP)
    subject.wait_for_log("nginx.unresponsive", 5.5)

    eventually(lambda: subject.get(timeout=0.3).text == "one", 8.0)
    assert subject.running


def test_P14_a_stopped_master_holds_up_no_deadline(serve: Serve, replicas: Replicas) -> None:
    """
    At the deadline an nginx that heeds nothing is killed when DRAIN_TIMEOUT ends: exit 0.
    """
    subject = serve(*replicas("one"), TTL="2s", DRAIN_TIMEOUT="2s")
    os.kill(subject.nginx_master() or 0, signal.SIGSTOP)

    assert 0 == subject.wait(8)
    assert on_time(run_time(subject), 2 + 1.7)  # killed 0.3 s before the end
    assert subject.log_lines("drain.killed")
    assert subject.ended is not None
    assert "deadline" == subject.ended["reason"]
