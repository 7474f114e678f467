"""
The drain: what is open at the deadline may finish, and nothing holds it up for ever.
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


def test_D02_what_is_open_at_the_deadline_completes(serve: Serve, replicas: Replicas) -> None:
    """
    A request of 3 s that is open at the deadline gets its whole 200; new ones are refused; exit 0.
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


def test_D03_what_outlasts_the_budget_is_cut(serve: Serve, replicas: Replicas) -> None:
    """
    Requests longer than DRAIN_TIMEOUT are cut in its last second; it counts them and ends with 0.
    """
    (one,) = replicas("one")
    subject = serve(one, TTL="2s", DRAIN_TIMEOUT="3s")
    with (
        HeldConnection.slow(subject.port, 60) as first,
        HeldConnection.slow(subject.port, 60) as second,
    ):
        eventually(lambda: 2 == one.requests["GET /slow"])

        assert 0 == subject.wait(15)
        deadline = subject.run.started_at + lived_until_now(subject, 2)
        for request in (first, second):
            request.wait(1)
            assert request.ended
            assert 1.5 < request.ended - deadline < 3.2
            assert 0 == request.status
    assert run_time(subject) < 2 + 3 + EXACT
    assert_cut(subject, 2)


def test_D04_streams_and_tunnels_are_cut_alike(serve: Serve, replicas: Replicas) -> None:
    """
    An event stream and a websocket live on through the drain, and are cut when its budget ends.
    """
    (one,) = replicas("one")
    subject = serve(one, TTL="2s", DRAIN_TIMEOUT="3s")
    with (
        HeldConnection.sse(subject.port, 60) as stream,
        HeldConnection.websocket(subject.port) as tunnel,
    ):
        eventually(lambda: (200, 101) == (stream.status, tunnel.status))
        eventually(subject.refuses, 5)
        sofar = len(stream.received)
        tunnel.send(b"said while it drains")
        eventually(lambda: tunnel.received.endswith(b"said while it drains"), 1.5)
        eventually(lambda: len(stream.received) > sofar, 1.5)

        assert 0 == subject.wait(15)
        deadline = subject.run.started_at + lived_until_now(subject, 2)
        for held in (stream, tunnel):
            held.wait(1)
            assert held.ended
            assert 1.5 < held.ended - deadline < 3.2
        assert stream.answer is None, "a stream that was cut must not look complete"
    assert run_time(subject) < 2 + 3 + EXACT
    assert_cut(subject, 2)


def test_D05_silence_does_not_hold_up_the_end(serve: Serve, replicas: Replicas) -> None:
    """
    A connection that never says a word delays the end by 10 s after its opening, never by 60.

    One that speaks during the drain is still answered: that is what the wait is for.
    """
    (one,) = replicas("one")
    subject = serve(one, TTL="2s")
    with HeldConnection.silent(subject.port) as silent, HeldConnection.silent(subject.port) as late:
        # A worker has accepted both: they survive the listener, and are not reset with it.
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
def test_D16_hung_workers_do_not_outlast_nomads_patience(
    serve: Serve, replicas: Replicas, hung: str
) -> None:
    """
    With nginx stopped dead, its master too, a stop still ends with 0 before Nomad's 5 s are over.
    """
    (one,) = replicas("one")
    subject = serve(one, TTL="1h")
    with HeldConnection.slow(subject.port, 60):
        eventually(lambda: one.requests["GET /slow"])
        master = subject.nginx_master()
        assert master
        for pid in [*([master] if hung == "all" else []), *subject.nginx_workers()]:
            psutil.Process(pid).suspend()
        asked = time.monotonic()
        subject.signal(signal.SIGTERM)

        assert 0 == subject.wait(10)
        assert subject.run.exited_at
        assert subject.run.exited_at - asked < 5
    assert_cut(subject, 1)


def lived_until_now(subject: Supervised, ttl: float) -> float:
    """
    Return the seconds from its launch to its deadline.
    """
    return subject.lasted - run_time(subject) + ttl


def assert_cut(subject: Supervised, count: int) -> None:
    """
    Log and ended.json agree on how many connections were cut.
    """
    (line,) = subject.log_lines("ended", code=0)
    assert count == line["connections_cut"]
    assert subject.ended
    assert count == subject.ended["connections_cut"]
    assert subject.log_lines("drain.cut_short")
