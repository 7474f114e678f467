"""
nginx ends though nobody asked for it: it is replaced, until it has failed too often.
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
    Wait for a master, and return the host's pid.
    """
    pid = eventually(subject.nginx_master, what="a master of nginx")
    assert pid is not None
    return pid


@pytest.mark.parametrize("code", [0, 1, 70, 127, 255])
def test_P02_the_code_of_an_nginx_that_keeps_ending_is_ours(
    prepare: Serve, fake_nginx: FakeNginx, code: int
) -> None:
    """
    When nginx answers, exits, and does so four times, its code is the program's, but 70 for a 0.
    """
    fake_nginx.set(run="fake", when="answered", after=0.05, code=code, complaint="out of luck")
    subject = prepare(NGINX_BINARY=str(fake_nginx)).start()

    assert (code or 70) == subject.wait(20)
    assert 4 == len(fake_nginx.runs)
    assert subject.ended is not None
    assert (code or 70, "out of luck") == (subject.ended["code"], subject.ended["message"])
    assert (code or 70, "out of luck") == (subject.logs[-1]["code"], subject.logs[-1]["message"])


@pytest.mark.parametrize("code", [0, 1, 70, 127, 255])
def test_P02_an_nginx_that_never_answered_is_unavailable(
    prepare: Serve, fake_nginx: FakeNginx, code: int
) -> None:
    """
    An nginx that ends before its first answer means 69 at once, whatever its code.
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
    When nginx answers, dies by a signal, and does so four times, the code is 128 and the signal.
    """
    fake_nginx.set(run="fake", when="answered", after=0.05, signal=number)
    subject = prepare(NGINX_BINARY=str(fake_nginx)).start()

    assert code == subject.wait(20)
    assert 4 == len(fake_nginx.runs)
    assert subject.ended is not None
    assert code == subject.ended["code"]


@pytest.mark.parametrize("number", [number for number, _ in BY_SIGNAL])
def test_P03_dying_before_the_first_answer_is_unavailable(
    prepare: Serve, fake_nginx: FakeNginx, number: int
) -> None:
    """
    A death by a signal before the first answer means 69 as well.
    """
    fake_nginx.set(run="fake", answers=False, when="started", signal=number)
    subject = prepare(NGINX_BINARY=str(fake_nginx)).start()

    assert 69 == subject.wait(10)
    assert 1 == len(fake_nginx.runs)


def test_P10_a_killed_master_is_replaced_within_a_second(serve: Serve, replicas: Replicas) -> None:
    """
    The workers of a killed master are told to QUIT: they finish what they have while a new
    master serves within a second, on a new configuration as well.
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
    Return the pid that a process has in the program's own namespace.
    """
    return next(p.inside for p in subject.processes() if p.pid == pid)


@pytest.mark.parametrize("number,code", [(signal.SIGKILL, 137), (signal.SIGSEGV, 139)])
def test_P11_the_fourth_death_within_a_minute_is_given_up_on(
    serve: Serve, replicas: Replicas, number: int, code: int
) -> None:
    """
    Three deaths of the real nginx are forgiven, the fourth ends the program: 128 and the signal.
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


def test_P12_killed_workers_are_nginx_s_own_business(serve: Serve, replicas: Replicas) -> None:
    """
    Twenty workers are killed one after the other: nginx replaces each, the service goes on, and
    neither the master nor the program notices.  The pattern being replaced does this too.
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
