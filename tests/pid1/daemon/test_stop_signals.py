"""
Shutdown by a stop signal, by a second one and by a third.
"""

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.support.held_connection import HeldConnection
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Replicas = Callable[..., list[Replica]]
Serve = Callable[..., Supervised]

STOP_SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]


def freeze(subject: Supervised) -> None:
    """
    Suspend all processes of nginx, so that only SIGKILL has an effect.
    """
    master = subject.nginx_master()
    assert master is not None
    for pid in (*subject.nginx_workers(), master):
        os.kill(pid, signal.SIGSTOP)


@pytest.mark.parametrize("number", STOP_SIGNALS, ids=lambda number: number.name)
def test_P05_a_stop_signal_drains(serve: Serve, replicas: Replicas, number: int) -> None:
    """
    After TERM, INT or QUIT new connections are refused, open requests complete, exit code 0.
    """
    (one,) = replicas("one")
    subject = serve(one)
    with HeldConnection.slow(subject.port, 1.5) as request:
        eventually(lambda: one.requests["GET /slow"])
        subject.signal(number)
        eventually(subject.refuses, 1.0)

        assert request.open
        assert 0 == subject.wait(5)
        request.wait(1)
    assert request.answer is not None
    assert (200, "one") == (request.answer.status, request.answer.text)
    assert 1.5 <= request.lasted


def test_P05_without_open_requests_a_stop_is_quick(serve: Serve, replicas: Replicas) -> None:
    """
    Without open requests the program exits within a second and records the reason.
    """
    subject = serve(*replicas("one"))
    at = time.monotonic()
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(5)
    assert subject.exit_time - at < 1.0
    assert subject.ended is not None
    assert ("stop signal", 0, 0) == tuple(
        subject.ended[name] for name in ("reason", "code", "connections_cut")
    )
    assert "ended" == subject.logs[-1]["event"]


def test_P07_a_second_stop_signal_makes_it_fast(serve: Serve, replicas: Replicas) -> None:
    """
    A second TERM during the drain cuts open requests: exit code 0 within a second.
    """
    (one,) = replicas("one")
    subject = serve(one, STOP_TIMEOUT="60s")
    with HeldConnection.slow(subject.port, 60) as request:
        eventually(lambda: one.requests["GET /slow"])
        subject.signal(signal.SIGTERM)
        eventually(subject.refuses, 1.0)
        assert request.open
        at = time.monotonic()
        subject.signal(signal.SIGTERM)

        assert 0 == subject.wait(5)
        assert subject.exit_time - at < 1.0
        request.wait(1)
    assert request.answer is None
    assert 1 == subject.logs[-1]["connections_cut"]


@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "plain"])
def test_P07_a_third_stop_signal_kills(serve: Serve, replicas: Replicas, *, pid1: bool) -> None:
    """
    A third TERM kills the whole group though nginx is suspended: exit code 0 within half a second,
    and no process is left, also without a PID namespace.
    """
    subject = serve(*replicas("one"), pid1=pid1, STOP_TIMEOUT="60s")
    freeze(subject)
    for number in STOP_SIGNALS[:2]:
        subject.signal(number)
    eventually(lambda: subject.log_lines("stop.escalated"), 1.0)
    at = time.monotonic()
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(5)
    assert subject.exit_time - at < 0.5
    assert subject.log_lines("drain.killed")
    eventually(lambda: [] == subject.processes(), 1.0)


def test_P07_one_stop_signal_ends_within_stop_timeout(serve: Serve, replicas: Replicas) -> None:
    """
    With requests that never end one TERM leads to exit code 0 within STOP_TIMEOUT, 4 s by default.
    """
    (one,) = replicas("one")
    subject = serve(one)
    port = subject.port
    with (
        HeldConnection.slow(port, 60),
        HeldConnection.sse(port, 60),
        HeldConnection.websocket(port) as tunnel,
    ):
        eventually(lambda: one.requests["GET /slow"] and one.requests["GET /sse"])
        eventually(lambda: tunnel.status == 101)
        at = time.monotonic()
        subject.signal(signal.SIGTERM)

        assert 0 == subject.wait(8)
        assert 2.9 < subject.exit_time - at < 4.2
    assert 3 == subject.logs[-1]["connections_cut"]


def test_P07_suspended_processes_are_killed_in_time(serve: Serve, replicas: Replicas) -> None:
    """
    A suspended nginx, too, is gone within STOP_TIMEOUT.
    """
    subject = serve(*replicas("one"), STOP_TIMEOUT="2s")
    freeze(subject)
    at = time.monotonic()
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(6)
    assert 1.6 < subject.exit_time - at < 2.3
    assert "still_running" not in subject.logs[-1]
