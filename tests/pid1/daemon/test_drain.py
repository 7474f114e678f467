"""
The drain: requests open at the deadline may complete, within a bounded time.
"""

import signal
import time
from collections.abc import Callable

import psutil
import pytest

from tests.support.client import request_bytes
from tests.support.deadlines import EXACT, first_start, run_time
from tests.support.held_connection import HeldConnection
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Serve = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]


def test_D02_open_requests_complete_after_the_deadline(serve: Serve, replicas: Replicas) -> None:
    """
    A request of 3 s that is open at the deadline gets its complete 200; new connections are
    refused; exit code 0.
    """
    (one,) = replicas("one")
    subject = serve(one, TTL="3s")
    eventually(lambda: time.time() >= first_start(subject) + 1.5)
    with HeldConnection.slow(subject.port, 3) as request:
        eventually(subject.refuses, 5)
        assert request.open

        assert 0 == subject.wait(10)
        request.wait(1)
    assert request.answer is not None
    assert (200, "one") == (request.answer.status, request.answer.text)
    assert 4.3 < run_time(subject) < 6
    assert subject.ended
    assert 0 == subject.ended["connections_cut"]


def test_D03_requests_longer_than_the_budget_are_cut(serve: Serve, replicas: Replicas) -> None:
    """
    Requests longer than DRAIN_TIMEOUT are cut in its last second and counted; exit code 0.
    """
    (one,) = replicas("one")
    subject = serve(one, TTL="2s", DRAIN_TIMEOUT="3s")
    with (
        HeldConnection.slow(subject.port, 60) as first,
        HeldConnection.slow(subject.port, 60) as second,
    ):
        eventually(lambda: 2 == one.requests["GET /slow"])

        assert 0 == subject.wait(15)
        deadline = subject.run.started_at + seconds_to_deadline(subject, 2)
        for request in (first, second):
            request.wait(1)
            assert request.ended
            assert 1.5 < request.ended - deadline < 3.2
            assert 0 == request.status
    assert run_time(subject) < 2 + 3 + EXACT
    assert_cut(subject, 2)


def test_D04_streams_and_tunnels_are_cut_too(serve: Serve, replicas: Replicas) -> None:
    """
    An event stream and a websocket stay open during the drain, and are cut when its budget ends.
    """
    (one,) = replicas("one")
    subject = serve(one, TTL="2s", DRAIN_TIMEOUT="3s")
    with (
        HeldConnection.sse(subject.port, 60) as stream,
        HeldConnection.websocket(subject.port) as tunnel,
    ):
        eventually(lambda: (200, 101) == (stream.status, tunnel.status))
        eventually(subject.refuses, 5)
        before = len(stream.received)
        tunnel.send(b"sent during the drain")
        eventually(lambda: tunnel.received.endswith(b"sent during the drain"), 1.5)
        eventually(lambda: len(stream.received) > before, 1.5)

        assert 0 == subject.wait(15)
        deadline = subject.run.started_at + seconds_to_deadline(subject, 2)
        for held in (stream, tunnel):
            held.wait(1)
            assert held.ended
            assert 1.5 < held.ended - deadline < 3.2
        assert stream.answer is None, "a cut stream must not look complete"
    assert run_time(subject) < 2 + 3 + EXACT
    assert_cut(subject, 2)


def test_D05_a_silent_connection_does_not_delay_the_exit(serve: Serve, replicas: Replicas) -> None:
    """
    A connection on which nothing is sent delays the exit until 10 s after its opening, never by 60.

    A request sent on such a connection during the drain is still answered: this is the reason for
    the wait.
    """
    (one,) = replicas("one")
    subject = serve(one, TTL="2s")
    with HeldConnection.silent(subject.port) as silent, HeldConnection.silent(subject.port) as late:
        # A worker has accepted both, so they are not reset when the listener closes.
        eventually(subject.refuses, 5)
        assert silent.open
        late.send(request_bytes("/"))
        late.wait(5)
        assert late.answer is not None
        assert "one" == late.answer.text

        assert 0 == subject.wait(20)
        assert 8 < silent.wait(1) < 12
    assert run_time(subject) < 12 + EXACT
    assert subject.ended
    assert 0 == subject.ended["connections_cut"]


@pytest.mark.parametrize("hung", ["workers", "all"])
def test_D16_hung_workers_are_gone_before_the_kill_timeout(
    serve: Serve, replicas: Replicas, hung: str
) -> None:
    """
    With nginx's workers stopped by SIGSTOP, or its master too, a stop leads to exit code 0 before
    Nomad's kill timeout of 5 s.
    """
    (one,) = replicas("one")
    subject = serve(one, TTL="1h")
    with HeldConnection.slow(subject.port, 60):
        eventually(lambda: one.requests["GET /slow"])
        master = subject.nginx_master()
        assert master
        for pid in [*([master] if hung == "all" else []), *subject.nginx_workers()]:
            psutil.Process(pid).suspend()
        stopped_at = time.monotonic()
        subject.signal(signal.SIGTERM)

        assert 0 == subject.wait(10)
        assert subject.run.exited_at
        assert subject.run.exited_at - stopped_at < 5
    assert_cut(subject, 1)


def seconds_to_deadline(subject: Supervised, ttl: float) -> float:
    """
    Return the seconds from the launch to the deadline.
    """
    return subject.lasted - run_time(subject) + ttl


def assert_cut(subject: Supervised, count: int) -> None:
    """
    Assert that the log and ended.json report this number of cut connections.
    """
    (line,) = subject.log_lines("ended", code=0)
    assert count == line["connections_cut"]
    assert subject.ended
    assert count == subject.ended["connections_cut"]
    assert subject.log_lines("drain.cut_short")
