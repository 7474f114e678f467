"""
Why an endpoint is not ready, against servers of every kind: in the status, the page's data and the
command.
"""

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from supervisor.core.model import Endpoint, HealthState
from tests.support import nomad_faults as faults
from tests.support.admin_subject import AdminSubject
from tests.support.fake_nomad import FakeNomad
from tests.support.listening import Listener
from tests.support.probing import ProbeRecorder
from tests.support.replica import Replica
from tests.support.waiting import eventually, free_port

STARTING, READY, FAILING = HealthState.STARTING, HealthState.READY, HealthState.FAILING


def close(_: socket.socket) -> None:
    """Close the connection at once."""


def reset(connection: socket.socket) -> None:
    """Reset the connection as a crash does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stay(connection: socket.socket) -> None:
    """Wait until the peer closes."""
    while connection.recv(4096):
        pass


class Respond:
    """Reads the request and sends these bytes; keeps the requests."""

    def __init__(self, text: bytes) -> None:
        self.requests: list[bytes] = []
        self._text = text

    def __call__(self, connection: socket.socket) -> None:
        self.requests.append(connection.recv(4096))
        connection.sendall(self._text)


class AllowOnly:
    """A server that allows one Host, as Django and others do."""

    def __init__(self, host: str) -> None:
        self._host = f"Host: {host}\r\n".encode()

    def __call__(self, connection: socket.socket) -> None:
        is_allowed = self._host in connection.recv(4096)
        status = b"200 OK" if is_allowed else b"400 Bad Request"
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")


@contextmanager
def serving(handle: object) -> Iterator[tuple[str, int]]:
    """Serve every connection with a function."""
    listener = Listener(("127.0.0.1", 0), handle)  # type: ignore[arg-type]
    listener.open()
    try:
        yield listener.address  # type: ignore[misc]
    finally:
        listener.close()


def outcome(recorder: ProbeRecorder, endpoint: tuple[str, int]) -> str:
    """Return the words for the last probe of an endpoint, once there is one."""
    place = Endpoint(*endpoint)
    found = eventually(lambda: recorder.probes.reports([place]))
    assert 0.0 <= found[place].age < 5.0
    return str(found[place].outcome)


NGINX_400 = (
    b"HTTP/1.1 400 Bad Request\r\n\r\n<h1>400</h1>The plain HTTP request was sent to HTTPS port"
)


@pytest.mark.parametrize(
    "handle, check, expected",
    [
        pytest.param(Respond(b"HTTP/1.1 404 Not Found\r\n\r\n"), "http", "HTTP 404", id="404"),
        pytest.param(Respond(b"HTTP/1.1 204 OK\r\n\r\n"), "http", "HTTP 204", id="204"),
        pytest.param(Respond(b"SSH-2.0-x\r\n"), "http", "the response is not HTTP/1", id="ssh"),
        pytest.param(Respond(b"\x15\x03\x01\x00\x02\x02\x46"), "http", "requires TLS", id="tls"),
        pytest.param(Respond(NGINX_400), "http", "requires TLS", id="tls-by-nginx"),
        pytest.param(close, "http", "closed after ", id="http-closed"),
        pytest.param(close, "tcp", "closed after ", id="tcp-closed"),
        pytest.param(reset, "tcp", "closed after ", id="tcp-reset"),
        pytest.param(stay, "tcp", "passed", id="tcp-open"),
        pytest.param(stay, "http", "timeout after 0.2s, no complete response", id="silent"),
    ],
)
def test_the_last_probe_is_kept_in_words(handle: object, check: str, expected: str) -> None:
    """
    The status, the timeout, or how long the connection was open.
    """
    with serving(handle) as endpoint:
        recorder = ProbeRecorder(HEALTH_CHECK=check, HEALTH_TIMEOUT="200ms")
        recorder.watch(endpoint)

        eventually(lambda: expected in outcome(recorder, endpoint))


def test_a_refused_and_a_busy_endpoint_have_their_words() -> None:
    """
    A port without a listener, and a full backlog.
    """
    with socket.socket() as listening, ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        busy, closed = listening.getsockname(), ("127.0.0.1", free_port())
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(busy)
        recorder = ProbeRecorder(HEALTH_TIMEOUT="100ms")
        recorder.watch(busy, closed)

        assert "connection refused" == outcome(recorder, closed)
        assert "timeout after 0.1s, not connected" == outcome(recorder, busy)


def test_the_last_probe_changes_with_the_endpoint_and_goes_with_it() -> None:
    """
    What is kept is the last outcome, and nothing for an endpoint that is not probed any more.
    """
    with Replica("one") as replica:
        recorder = ProbeRecorder(HEALTH_PATH="/", HEALTH_INTERVAL="50ms")
        recorder.watch(replica.endpoint)
        recorder.wait_for(replica.endpoint, READY)
        assert "HTTP 200" == outcome(recorder, replica.endpoint)
        replica.stop()
        recorder.wait_for(replica.endpoint, FAILING)
        assert "connection refused" == outcome(recorder, replica.endpoint)
        recorder.watch()
        eventually(lambda: {} == recorder.probes.reports([Endpoint(*replica.endpoint)]))


@pytest.mark.parametrize("host", ["models.example.org", "localhost:8000", "[fd00::1]:80"])
def test_health_host_is_the_host_that_probes_send(host: str) -> None:
    """
    A server that allows only some hosts is ready with it, and returns 400 without.
    """
    with serving(AllowOnly(host)) as endpoint:
        without, with_host = (
            ProbeRecorder(HEALTH_PATH="/"),
            ProbeRecorder(HEALTH_PATH="/", HEALTH_HOST=host),
        )
        for recorder in (without, with_host):
            recorder.watch(endpoint)

        with_host.wait_for(endpoint, READY)
        assert "HTTP 400" == outcome(without, endpoint)


def test_nomads_checks_have_outcomes_too(nomad: FakeNomad) -> None:
    """
    Pending, the output of the failed check, and why the checks cannot be read.
    """
    closed = ("127.0.0.1", free_port())
    nomad.set("web", [closed])
    allocation = nomad.allocation("web", closed[1])
    nomad.checks(allocation, {"alive": "pending"})
    recorder = ProbeRecorder(
        HEALTH_CHECK="nomad", HEALTH_INTERVAL="100ms", NOMAD_ADDR=nomad.address
    )
    recorder.watch(closed, allocations={closed: allocation})
    eventually(lambda: "Nomad's check has no result yet" == outcome(recorder, closed))
    nomad.checks(allocation, {"alive": "failure"})
    eventually(lambda: outcome(recorder, closed).startswith("Nomad's check fails: alive"))
    nomad.checks(allocation, {"alive": "success"})
    eventually(lambda: "passed" == outcome(recorder, closed))
    nomad.fault(faults.status(500, "away"))

    eventually(lambda: "Nomad's checks cannot be read" in outcome(recorder, closed))


def test_without_rights_the_probes_have_outcomes(nomad: FakeNomad) -> None:
    """
    Then endpoints are probed by TCP, and the outcome is that of the probe.
    """
    closed = ("127.0.0.1", free_port())
    nomad.set("web", [closed])
    nomad.fault(faults.status(403, "Permission denied"))
    recorder = ProbeRecorder(
        HEALTH_CHECK="nomad", HEALTH_INTERVAL="100ms", NOMAD_ADDR=nomad.address
    )
    recorder.watch(closed, allocations={closed: nomad.allocation("web", closed[1])})

    eventually(lambda: "connection refused" == outcome(recorder, closed))


def test_the_status_shows_the_last_probe_and_the_next_step() -> None:
    """
    From the first probe on, in the JSON of both sockets and in the command's table.
    """
    settings = {"HEALTH_PATH": "/nope", "HEALTH_STATUS": "200"}
    with Replica("one") as ready, AdminSubject(**settings) as subject:
        closed = ("127.0.0.1", free_port())
        subject.offer(ready, closed)
        rows = eventually(lambda: _probed(subject))
        (refused,) = [row for row in rows if row["address"].endswith(f":{closed[1]}")]
        (other,) = [row for row in rows if row["address"].endswith(f":{ready.port}")]

        assert "connection refused" == refused["last_probe"]["outcome"]
        assert "listens on" in refused["last_probe"]["hint"]
        assert ("ready", "HTTP 200", None) == (
            other["health"],
            other["last_probe"]["outcome"],
            other["last_probe"]["hint"],
        )
        at = datetime.fromisoformat(refused["last_probe"]["at"])
        assert abs(datetime.now(UTC) - at) < timedelta(seconds=5)
        table = subject.run_command("status").stdout
        assert "LAST PROBE" in table
        assert "connection refused at " in table


def _probed(subject: AdminSubject) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = subject.status()["endpoints"]["rows"]
    assert 2 == len(rows)
    assert all(row["last_probe"] for row in rows)
    assert any(row["health"] == "ready" for row in rows)
    return rows
