"""
Exits with an obstacle: a terminal, or a thread that hangs.
"""

import signal
import time
from collections.abc import Callable

from tests.support.fake_nomad import FakeNomad
from tests.support.held_connection import HeldConnection
from tests.support.nomad_faults import hang
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Replicas = Callable[..., list[Replica]]
Serve = Callable[..., Supervised]


def test_P16_ctrl_c_drains(serve: Serve, replicas: Replicas) -> None:
    """
    Ctrl-C on a terminal reaches only the program, since nginx has its own session: open requests
    complete, then exit code 0.
    """
    (one,) = replicas("one")
    subject = serve(one, stdout="tty")
    with HeldConnection.slow(subject.port, 1.5) as request:
        eventually(lambda: one.requests["GET /slow"])
        subject.run.type_keys(b"\x03")

        assert 0 == subject.wait(5)
        request.wait(1)
    assert request.answer is not None
    assert (200, "one") == (request.answer.status, request.answer.text)


def test_P16_a_second_ctrl_c_makes_it_fast(serve: Serve, replicas: Replicas) -> None:
    """
    A second Ctrl-C shortens the drain: exit code 0 within a second.
    """
    (one,) = replicas("one")
    subject = serve(one, stdout="tty", STOP_TIMEOUT="60s")
    with HeldConnection.slow(subject.port, 60):
        eventually(lambda: one.requests["GET /slow"])
        subject.run.type_keys(b"\x03")
        # The line is not JSON here: the terminal echoes ^C before it.
        eventually(lambda: "draining" in subject.recent_output)
        at = time.monotonic()
        subject.run.type_keys(b"\x03")

        assert 0 == subject.wait(5)
        assert time.monotonic() - at < 1.0


def test_P19_a_hanging_nomad_does_not_delay_a_stop(
    nomad: FakeNomad, serve: Serve, replicas: Replicas
) -> None:
    """
    A thread that waits for Nomad's response does not delay a stop.
    """
    subject = serve(*replicas("one"))
    sent = len(nomad.requests)
    nomad.fault(hang())
    subject.signal(signal.SIGHUP)  # sends a query that hangs
    eventually(lambda: len(nomad.requests) > sent)
    at = time.monotonic()
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(5)
    assert time.monotonic() - at < 1.0


def test_P19_a_hanging_nomad_does_not_prolong_a_drain(
    nomad: FakeNomad, serve: Serve, replicas: Replicas
) -> None:
    """
    If a request also never ends, the program exits at most a second after the drain.
    """
    (one,) = replicas("one")
    subject = serve(one, STOP_TIMEOUT="2s")
    sent = len(nomad.requests)
    nomad.fault(hang())
    subject.signal(signal.SIGHUP)
    eventually(lambda: len(nomad.requests) > sent)
    with HeldConnection.slow(subject.port, 60):
        eventually(lambda: one.requests["GET /slow"])
        at = time.monotonic()
        subject.signal(signal.SIGTERM)

        assert 0 == subject.wait(8)
        assert time.monotonic() - at < 3.0


def test_P19_a_nomad_that_never_responded_does_not_delay_a_stop(
    nomad: FakeNomad, prepare: Serve
) -> None:
    """
    A first query that still hangs does not delay a stop either.
    """
    nomad.fault(hang())
    subject = prepare().start()
    eventually(lambda: nomad.requests)
    subject.ready(status=503)
    at = time.monotonic()
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(5)
    assert time.monotonic() - at < 1.0
