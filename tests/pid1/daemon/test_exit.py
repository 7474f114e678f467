"""
Ends that something stands in the way of: a terminal, a thread that hangs.
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
    Ctrl-C on a terminal reaches the program alone, since nginx has a session of its own: what is
    open completes, then exit 0.
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
    Whoever presses Ctrl-C again does not want to wait: exit 0 within a second.
    """
    (one,) = replicas("one")
    subject = serve(one, stdout="tty", STOP_TIMEOUT="60s")
    with HeldConnection.slow(subject.port, 60):
        eventually(lambda: one.requests["GET /slow"])
        subject.run.type_keys(b"\x03")
        eventually(
            lambda: "draining" in subject.recent_output
        )  # no JSON: the terminal echoes ^C before it
        at = time.monotonic()
        subject.run.type_keys(b"\x03")

        assert 0 == subject.wait(5)
        assert time.monotonic() - at < 1.0


def test_P19_a_hanging_nomad_does_not_hold_up_a_stop(
    nomad: FakeNomad, serve: Serve, replicas: Replicas
) -> None:
    """
    A thread that waits for an answer of Nomad keeps no one from leaving at once.
    """
    subject = serve(*replicas("one"))
    asked = len(nomad.requests)
    nomad.fault(hang())
    subject.signal(signal.SIGHUP)  # asks again, and now hangs in it
    eventually(lambda: len(nomad.requests) > asked)
    at = time.monotonic()
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(5)
    assert time.monotonic() - at < 1.0


def test_P19_a_hanging_nomad_does_not_prolong_a_drain(
    nomad: FakeNomad, serve: Serve, replicas: Replicas
) -> None:
    """
    With a request that never ends as well, the program is gone a second after the drain at most.
    """
    (one,) = replicas("one")
    subject = serve(one, STOP_TIMEOUT="2s")
    asked = len(nomad.requests)
    nomad.fault(hang())
    subject.signal(signal.SIGHUP)
    eventually(lambda: len(nomad.requests) > asked)
    with HeldConnection.slow(subject.port, 60):
        eventually(lambda: one.requests["GET /slow"])
        at = time.monotonic()
        subject.signal(signal.SIGTERM)

        assert 0 == subject.wait(8)
        assert time.monotonic() - at < 3.0


def test_P19_a_nomad_that_never_answered_does_not_hold_up_a_stop(
    nomad: FakeNomad, prepare: Serve
) -> None:
    """
    The same where the very first question still hangs.
    """
    nomad.fault(hang())
    subject = prepare().start()
    eventually(lambda: nomad.requests)
    subject.ready(status=503)
    at = time.monotonic()
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(5)
    assert time.monotonic() - at < 1.0
