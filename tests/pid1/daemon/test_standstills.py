"""
The program, or the reader of its output, stands still.
"""

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.support.deadlines import on_time, run_time
from tests.support.replica import Replica
from tests.support.selection import slow
from tests.support.supervised import Supervised
from tests.support.traffic import Traffic
from tests.support.waiting import eventually

Replicas = Callable[..., list[Replica]]
Serve = Callable[..., Supervised]

AWAY = 10.0


def test_P18_an_unread_output_delays_nothing(prepare: Serve, replicas: Replicas) -> None:
    """
    Its output goes to a pipe that is always full: the service works, the deadline of 10 s is kept,
    the exit code is 0, and the dropped lines are counted in ended.json.
    """
    one, two = replicas("one", "two")
    subject = prepare(one, stdout="unread", TTL="10s").start()
    subject.ready(status=200)
    subject.offer(two)
    eventually(lambda: subject.get().text == "two", 3.0)
    with Traffic(subject.port, every=0.02) as traffic:
        while subject.lasted < 9.0:
            subject.signal(*[signal.SIGUSR2, signal.SIGHUP] * 20)
            assert subject.running
        traffic.stop()

    assert 0 == subject.wait(5)
    assert on_time(run_time(subject), 10)
    assert [] == traffic.failures
    assert subject.ended is not None
    assert ("deadline", 0) == (subject.ended["reason"], subject.ended["code"])
    assert subject.ended["log_lines_dropped"] > 100


@pytest.mark.parametrize("ttl", ["5s", slow("14s")])
def test_P21_a_suspended_program_catches_up(serve: Serve, replicas: Replicas, ttl: str) -> None:
    """
    The program is suspended by SIGSTOP for ten seconds.  A deadline in that time takes effect on
    resumption, a later one exactly; changes and signals of that time lead to a single reload.  The
    pattern being replaced does the first too.
    """
    one, two, three = replicas("one", "two", "three")
    subject = serve(one, TTL=ttl)
    os.kill(subject.pid, signal.SIGSTOP)
    back = time.monotonic() + AWAY
    workers = subject.nginx_workers()
    subject.offer(two)
    subject.offer(one, two)
    subject.offer(three)
    subject.signal(signal.SIGHUP, signal.SIGHUP, signal.SIGHUP)
    eventually(lambda: time.monotonic() >= back, AWAY + 5, 0.05)
    assert "one" == subject.get().text  # nginx serves without the supervisor
    assert workers == subject.nginx_workers()
    os.kill(subject.pid, signal.SIGCONT)
    if ttl == "14s":
        eventually(lambda: subject.get().text == "three", 3.0)
        assert 0 == subject.wait(8)
        assert on_time(run_time(subject), 14)
        assert 2 == len(subject.log_lines("reload.applied"))
    else:
        assert 0 == subject.wait(2)
        assert time.monotonic() - back < 1.5
    assert [] == subject.log_lines("reload.failed")
    assert [] == subject.log_lines("nginx.unresponsive")
