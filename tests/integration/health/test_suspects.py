"""
Endpoints to which nginx cannot connect: they are probed at once, and only a probe decides.
"""

import threading
import time
from collections.abc import Iterator
from socket import socket

import pytest

from supervisor.core.model import HealthState
from tests.support.fake_nomad import FakeNomad
from tests.support.listening import Listener
from tests.support.probing import ProbeRecorder
from tests.support.replica import Replica
from tests.support.waiting import eventually, free_port

READY, FAILING = HealthState.READY, HealthState.FAILING

#: Goal for a process that is gone, in seconds.
LIMIT = 0.3


@pytest.fixture
def counted() -> Iterator[tuple[tuple[str, int], list[float], threading.Event]]:
    """
    An endpoint, the times of the connections to it, and whether it closes them at once as docker's
    proxy of a dead container does.
    """
    times: list[float] = []
    closes = threading.Event()

    def accept(connection: socket) -> None:
        times.append(time.monotonic())
        if not closes.is_set():
            connection.recv(1)

    listener = Listener(("127.0.0.1", 0), accept)
    listener.open()
    try:
        assert isinstance(listener.address, tuple)
        yield listener.address, times, closes
    finally:
        listener.close(cut=True)


def ready(recorder: ProbeRecorder, endpoint: tuple[str, int]) -> None:
    """
    Watch an endpoint until it is ready.
    """
    recorder.watch(endpoint)
    recorder.wait_for(endpoint, READY)


@pytest.mark.parametrize("fall", ["1", "2", "9"])
@pytest.mark.parametrize("check", ["tcp", "http"])
def test_a_suspect_that_refuses_leaves_at_once(check: str, fall: str) -> None:
    """
    Long before its next regular probe, whatever HEALTH_FALL is.
    """
    recorder = ProbeRecorder(HEALTH_CHECK=check, HEALTH_INTERVAL="60s", HEALTH_FALL=fall)
    with Replica("one") as replica:
        endpoint = replica.endpoint
        ready(recorder, endpoint)
    began = time.monotonic()
    recorder.suspect(endpoint)

    assert ["ready", "failing"] == recorder.wait_for(endpoint, FAILING)
    assert recorder.reported_at(endpoint, FAILING) - began < LIMIT


def test_a_suspect_that_closes_its_connections_leaves_soon(
    counted: tuple[tuple[str, int], list[float], threading.Event],
) -> None:
    """
    HEALTH_FALL probes must fail, 0.1 s apart instead of 1 s.
    """
    endpoint, times, closes = counted
    recorder = ProbeRecorder(HEALTH_INTERVAL="60s", HEALTH_FALL="3")
    ready(recorder, endpoint)
    closes.set()
    began, before = time.monotonic(), len(times)
    recorder.suspect(endpoint)
    recorder.wait_for(endpoint, FAILING)

    assert recorder.reported_at(endpoint, FAILING) - began < 2 * LIMIT
    assert len(times) - before >= 3


def test_a_healthy_suspect_stays_and_is_not_flooded(
    counted: tuple[tuple[str, int], list[float], threading.Event],
) -> None:
    """
    A replica that some requests crash, or one that a client names in its request, keeps passing:
    it stays, and is probed ten times a second at most however often it is suspected.
    """
    endpoint, times, _ = counted
    recorder = ProbeRecorder(HEALTH_INTERVAL="60s")
    ready(recorder, endpoint)
    first, end = len(times), time.monotonic() + 1.0
    while time.monotonic() < end:
        recorder.suspect(endpoint, ("127.0.0.1", 1))
        time.sleep(0.001)  # a pause between reports, not a condition

    assert 5 <= len(times) - first <= 12
    assert ["ready"] == recorder.history(endpoint)
    last = len(times)
    eventually(lambda: len(times) <= last + 1 and time.monotonic() > end + 0.5)


def test_nomad_s_older_check_does_not_bring_a_suspect_back(nomad: FakeNomad) -> None:
    """
    Nomad calls a dead endpoint healthy until its next check: the endpoint leaves at once, stays out
    while it refuses, and returns when it listens again; then Nomad's checks decide as before.
    """
    port = free_port()
    endpoint = ("127.0.0.1", port)
    nomad.set("web", [endpoint])
    allocation = nomad.allocation("web", port)
    nomad.checks(allocation, {"alive": "success"})
    recorder = ProbeRecorder(
        HEALTH_CHECK="nomad",
        HEALTH_INTERVAL="200ms",
        NOMAD_ADDR=nomad.address,
        NOMAD_JOB_ID="balancer",
    )
    with Replica("one", port=port):
        recorder.watch(endpoint, allocations={endpoint: allocation})
        recorder.wait_for(endpoint, READY)
        recorder.suspect(endpoint)
        seen = len(nomad.requests)
        eventually(lambda: len(nomad.requests) > seen + 3)
        assert {"ready"} == {*recorder.history(endpoint)}, "a suspect that passes stays"
    began = time.monotonic()
    recorder.suspect(endpoint)
    recorder.wait_for(endpoint, FAILING)
    assert recorder.reported_at(endpoint, FAILING) - began < LIMIT
    seen = len(nomad.requests)
    eventually(lambda: len(nomad.requests) > seen + 3)
    assert FAILING.value == recorder.history(endpoint)[-1]
    with Replica("one", port=port):
        recorder.wait_for(endpoint, READY)
        nomad.checks(allocation, {"alive": "failure"})
        recorder.wait_for(endpoint, FAILING)
        nomad.checks(allocation, {"alive": "success"})
        recorder.wait_for(endpoint, READY)
