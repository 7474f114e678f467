"""
nginx exits unexpectedly: it is replaced, until it has failed too often.
"""

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.support.fake_nginx import FakeNginx
from tests.support.held_connection import HeldConnection
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.traffic import Traffic
from tests.support.waiting import eventually

Replicas = Callable[..., list[Replica]]
Serve = Callable[..., Supervised]

BY_SIGNAL = [(signal.SIGTERM, 143), (signal.SIGKILL, 137), (signal.SIGSEGV, 139)]


def master_of(subject: Supervised) -> int:
    """
    Wait for a master and return its pid on the host.
    """
    pid = eventually(subject.nginx_master, what="a master of nginx")
    assert pid is not None
    return pid


@pytest.mark.parametrize("code", [0, 1, 70, 127, 255])
def test_P02_the_code_of_an_nginx_that_keeps_exiting_is_returned(
    prepare: Serve, fake_nginx: FakeNginx, code: int
) -> None:
    """
    When nginx becomes ready and exits four times, the program exits with its code, or 70 for a 0.
    """
    fake_nginx.set(run="fake", when="answered", after=0.05, code=code, complaint="out of luck")
    subject = prepare(NGINX_BINARY=str(fake_nginx)).start()

    assert (code or 70) == subject.wait(20)
    assert 4 == len(fake_nginx.runs)
    assert subject.ended is not None
    assert (code or 70, "out of luck") == (subject.ended["code"], subject.ended["message"])
    assert (code or 70, "out of luck") == (subject.logs[-1]["code"], subject.logs[-1]["message"])


@pytest.mark.parametrize("code", [0, 1, 70, 127, 255])
def test_P02_an_nginx_that_was_never_ready_is_unavailable(
    prepare: Serve, fake_nginx: FakeNginx, code: int
) -> None:
    """
    An nginx that exits before it is ready leads to exit code 69 at once, whatever its own code.
    """
    fake_nginx.set(run="fake", answers=False, when="started", code=code, complaint="out of luck")
    subject = prepare(NGINX_BINARY=str(fake_nginx)).start()

    assert 69 == subject.wait(10)
    assert 1 == len(fake_nginx.runs)
    assert (69, "out of luck") == (subject.logs[-1]["code"], subject.logs[-1]["message"])


@pytest.mark.parametrize("number,code", BY_SIGNAL)
def test_P03_an_nginx_that_keeps_dying_by_a_signal(
    prepare: Serve, fake_nginx: FakeNginx, number: int, code: int
) -> None:
    """
    When nginx becomes ready and dies by a signal four times, the exit code is 128 plus the signal.
    """
    fake_nginx.set(run="fake", when="answered", after=0.05, signal=number)
    subject = prepare(NGINX_BINARY=str(fake_nginx)).start()

    assert code == subject.wait(20)
    assert 4 == len(fake_nginx.runs)
    assert subject.ended is not None
    assert code == subject.ended["code"]


@pytest.mark.parametrize("number", [number for number, _ in BY_SIGNAL])
def test_P03_dying_before_it_is_ready_is_unavailable(
    prepare: Serve, fake_nginx: FakeNginx, number: int
) -> None:
    """
    A death by a signal before nginx is ready leads to exit code 69 as well.
    """
    fake_nginx.set(run="fake", answers=False, when="started", signal=number)
    subject = prepare(NGINX_BINARY=str(fake_nginx)).start()

    assert 69 == subject.wait(10)
    assert 1 == len(fake_nginx.runs)


def test_P10_a_killed_master_is_replaced_within_a_second(serve: Serve, replicas: Replicas) -> None:
    """
    The workers of a killed master get SIGQUIT and complete their requests; a new master serves
    within a second, and applies new configurations.
    """
    one, two = replicas("one", "two")
    subject = serve(one)
    master, workers = master_of(subject), subject.nginx_workers()
    with HeldConnection.slow(subject.port, 2) as request, Traffic(subject.port) as traffic:
        eventually(lambda: one.requests["GET /slow"])
        eventually(lambda: traffic.answered["one"])
        at = time.monotonic()
        os.kill(master, signal.SIGKILL)
        fresh = eventually(lambda: {*subject.nginx_workers()} - {*workers}, 1.0, 0.005)
        subject.wait_for_log("nginx.died", 1.0, code=137, deaths=1)
        subject.wait_for_log("nginx.orphans_quit", 1.0)
        assert [len(workers)] == [
            line["workers"] for line in subject.log_lines("nginx.orphans_quit")
        ]
        subject.wait_for_log("nginx.ready", 1.0, pid=inside(subject, master_of(subject)))
        back = time.monotonic()
        assert back - at < 1.0
        assert eventually(lambda: traffic.first("one", since=back), 1.0)

        subject.offer(two)
        eventually(lambda: traffic.first("two", since=back), 2.0)
        assert [] == [failed for failed in traffic.failures if failed.at > back]
        assert request.open
        request.wait(3)
    assert request.answer is not None
    assert (200, "one") == (request.answer.status, request.answer.text)
    eventually(lambda: not {*workers} & {p.pid for p in subject.processes()})
    assert {*workers}.isdisjoint(fresh)
    assert [] == subject.zombies()
    assert subject.running


def inside(subject: Supervised, pid: int) -> int:
    """
    Return the pid of a process in the program's own namespace.
    """
    return next(p.inside for p in subject.processes() if p.pid == pid)


@pytest.mark.parametrize("number,code", [(signal.SIGKILL, 137), (signal.SIGSEGV, 139)])
def test_P11_the_fourth_death_within_a_minute_ends_the_program(
    serve: Serve, replicas: Replicas, number: int, code: int
) -> None:
    """
    Three deaths of the real nginx are tolerated, the fourth ends the program: 128 plus the signal.
    """
    subject = serve(*replicas("one"))
    for death in range(1, 5):
        assert subject.running
        os.kill(master_of(subject), number)
        subject.wait_for_log("nginx.died", deaths=death)
        if death < 4:
            eventually(lambda wanted=death + 1: len(subject.log_lines("nginx.ready")) == wanted, 5)
            assert 200 == subject.ready(status=200).status

    assert code == subject.wait(2)
    assert subject.ended is not None
    assert code == subject.ended["code"]
    assert "4 times" in subject.ended["reason"]


def test_P12_nginx_replaces_killed_workers(serve: Serve, replicas: Replicas) -> None:
    """
    Twenty workers are killed one after the other: nginx replaces each, requests are served, and
    the master is not replaced.  The pattern being replaced does this too.
    """
    subject = serve(*replicas("one"))
    master, before = master_of(subject), len(subject.nginx_workers())
    for _ in range(20):
        victim = subject.nginx_workers()[0]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda gone=victim: gone not in {p.pid for p in subject.processes()}, 5)
        eventually(lambda: len(subject.nginx_workers()) == before, 5)
        assert "one" == subject.ready(status=200, within=5).text

    assert subject.running
    assert master == subject.nginx_master()
    assert [] == subject.log_lines("nginx.died")
    assert [] == subject.zombies()
