"""
nginx does not respond: its workers are gone, or it was suspended.
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


def use_fragile_nginx(subject: Supervised) -> Path:
    """
    Use an nginx whose workers cannot start without a folder, and return the folder.
    """
    folder, path = subject.home / "needed", subject.home / "fragile-nginx"
    path.write_text(f'#!/bin/sh\nexec {REAL} "$@" -g "working_directory {folder};"\n')
    path.chmod(0o755)
    subject.settings["NGINX_BINARY"] = str(path)
    return folder


def test_P13_an_nginx_whose_workers_cannot_start_is_detected(
    prepare: Serve, replicas: Replicas
) -> None:
    """
    The real nginx's workers are gone for good ("exited with fatal code 2 and cannot be respawned")
    while its master runs and the port is open: detected within 5 s, and repaired when possible.
    """
    subject = prepare(*replicas("one"))
    folder = use_fragile_nginx(subject)
    folder.mkdir(mode=0o755)
    subject.start().ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    folder.rmdir()

    def end_workers() -> bool:
        """Kill the present workers; more may still be starting."""
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
    If the real nginx's workers never start, nginx never becomes ready: exit code 69.
    """
    subject = prepare(*replicas("one"), START_TIMEOUT="1s")
    use_fragile_nginx(subject)
    subject.start()

    assert 69 == subject.wait(8)
    assert "did not respond within 1s" in subject.logs[-1]["reason"]
    assert "cannot be respawned" in subject.logs[-1]["message"]


def test_P13_an_nginx_that_stays_without_workers_ends_the_program(
    prepare: Serve, replicas: Replicas, fake_nginx: FakeNginx
) -> None:
    """
    If the workers never come back, nginx is replaced repeatedly, and then the program exits with a
    code other than 0.
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


def test_P14_a_suspended_master_delays_a_reload_but_not_for_ever(
    serve: Serve, replicas: Replicas
) -> None:
    """
    A suspended master does not handle HUP: after VERIFY_TIMEOUT it is resumed, the failure is
    logged, and the change is applied.
    """
    one, two = replicas("one", "two")
    subject = serve(one, VERIFY_TIMEOUT="1s")
    os.kill(eventually(subject.nginx_master), signal.SIGSTOP)
    subject.offer(two)
    subject.wait_for_log("reload.failed", 3.0)
    assert "one" == subject.get().text  # the workers still serve

    eventually(lambda: subject.get().text == "two", 6.0)
    assert [] == subject.log_lines("nginx.died")


def test_P14_a_suspended_nginx_is_resumed(serve: Serve, replicas: Replicas) -> None:
    """
    If master and workers are suspended, this is detected within 5 s, and nginx serves again.
    """
    (one,) = replicas("one")
    subject = serve(one, VERIFY_TIMEOUT="1s")
    for pid in (*subject.nginx_workers(), eventually(subject.nginx_master)):
        os.kill(pid, signal.SIGSTOP)
    subject.wait_for_log("nginx.unresponsive", 5.5)

    eventually(lambda: subject.get(timeout=0.3).text == "one", 8.0)
    assert subject.running


def test_P14_a_suspended_master_does_not_delay_the_deadline(
    serve: Serve, replicas: Replicas
) -> None:
    """
    At the deadline a suspended nginx is killed before DRAIN_TIMEOUT ends: exit code 0.
    """
    subject = serve(*replicas("one"), TTL="4s", DRAIN_TIMEOUT="2s")
    os.kill(eventually(subject.nginx_master), signal.SIGSTOP)

    assert 0 == subject.wait(8)
    assert on_time(run_time(subject), 4 + 1.7)  # killed 0.3 s before DRAIN_TIMEOUT ends
    assert subject.log_lines("drain.killed")
    assert subject.ended is not None
    assert "deadline" == subject.ended["reason"]
