"""
The probes, against servers of every kind.
"""

import errno
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from supervisor import __version__
from supervisor.core.model import HealthState
from supervisor.health.probe import LocalError, outcome_of_error, status_of
from supervisor.health.state import ProbeResult, result_of
from tests.support.listening import Listener
from tests.support.probing import ProbeRecorder
from tests.support.replica import Replica
from tests.support.waiting import eventually, free_port

READY, SLOW, FAILING = HealthState.READY, HealthState.SLOW, HealthState.FAILING
STARTING = HealthState.STARTING

FAST = {"HEALTH_INTERVAL": "100ms", "HEALTH_TIMEOUT": "150ms"}


class Server:
    """
    Handles every connection with one function, and records their times.
    """

    def __init__(self, handle: Callable[[socket.socket], None], host: str = "127.0.0.1") -> None:
        self.accepted_at: list[float] = []
        self._handle = handle
        self._listener = Listener((host, 0), self._accept)

    def _accept(self, connection: socket.socket) -> None:
        self.accepted_at.append(time.monotonic())
        self._handle(connection)

    def __enter__(self) -> Self:
        self._listener.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    @property
    def endpoint(self) -> tuple[str, int]:
        """
        Its address.
        """
        assert not isinstance(self._listener.address, Path)
        return self._listener.address


def stay(connection: socket.socket) -> None:
    """Wait until the peer closes."""
    while connection.recv(4096):
        pass


def close(_: socket.socket) -> None:
    """Close the connection at once."""


def reset(connection: socket.socket) -> None:
    """Reset the connection as a crash does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def greet(connection: socket.socket) -> None:
    """Send data first, and keep the connection open."""
    connection.sendall(b"220 ready\r\n")
    stay(connection)


def respond(*parts: bytes) -> Callable[[socket.socket], None]:
    """Read the request and send these bytes, part by part."""

    def handle(connection: socket.socket) -> None:
        connection.recv(4096)
        for part in parts:
            connection.sendall(part)
            time.sleep(0.005)  # so that the parts arrive separately

    return handle


@pytest.mark.parametrize("handle", [stay, greet])
def test_an_endpoint_that_keeps_the_connection_open_is_ready(
    handle: Callable[[socket.socket], None],
) -> None:
    """
    It is ready 25 ms after the connection, whatever data the server sends first.
    """
    with Server(handle) as server:
        recorder = ProbeRecorder()
        started_at = time.monotonic()
        recorder.watch(server.endpoint)

        assert ["ready"] == recorder.wait_for(server.endpoint, READY)
        assert recorder.reported_at(server.endpoint, READY) - started_at > 0.025


@pytest.mark.parametrize("handle", [close, reset])
def test_an_endpoint_that_accepts_and_closes_is_not_ready(
    handle: Callable[[socket.socket], None],
) -> None:
    """
    Docker's port proxy accepts before the container listens, and closes at once.

    On a busy machine this server may take longer than 25 ms, so the test is repeated.
    """
    histories = []
    for _ in range(5):
        with Server(handle) as server:
            recorder = ProbeRecorder(HEALTH_FALL="1")
            recorder.watch(server.endpoint)
            eventually(lambda: len(server.accepted_at) > 5)
            recorder.watch()
        histories.append(recorder.history(server.endpoint))
        if histories[-1] == ["starting"]:
            return

    raise AssertionError(histories)


def test_an_endpoint_that_starts_late_is_ready_soon_after() -> None:
    """
    A new endpoint is probed every 50 ms, so it is ready soon after it listens.
    """
    replica = Replica("late", port=free_port())
    recorder = ProbeRecorder()
    recorder.watch(replica.endpoint)
    recorder.wait_for(replica.endpoint, STARTING)

    with replica:
        listening = time.monotonic()
        assert ["starting", "ready"] == recorder.wait_for(replica.endpoint, READY)

    assert recorder.reported_at(replica.endpoint, READY) - listening < 0.5


def test_an_endpoint_that_exits_fails_and_can_recover() -> None:
    """
    A refused connection counts double: one probe is enough.
    """
    recorder = ProbeRecorder(**FAST)
    with Replica("one") as replica:
        recorder.watch(replica.endpoint)
        recorder.wait_for(replica.endpoint, READY)
        replica.stop()
        recorder.wait_for(replica.endpoint, FAILING)
        replica.start()

        assert ["ready", "failing", "ready"] == recorder.wait_for(replica.endpoint, READY)


@pytest.mark.parametrize(
    "number, result",
    [
        (errno.ECONNREFUSED, ProbeResult.REFUSED),
        (errno.ETIMEDOUT, ProbeResult.TIMED_OUT),
        (errno.ECONNRESET, ProbeResult.FAILED),
        (errno.EHOSTUNREACH, ProbeResult.FAILED),
        (errno.ENETUNREACH, ProbeResult.FAILED),
    ],
)
def test_the_errno_of_a_failed_connection_determines_the_result(
    number: int, result: ProbeResult
) -> None:
    """
    Refused is worse than failed, and the kernel's own connect timeout is a timeout too.
    """
    assert result is result_of(outcome_of_error(number, 2.0))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL])
def test_a_local_error_is_no_result(number: int) -> None:
    """
    A lack of descriptors, memory or ports on this machine is not a failure of the endpoint.
    """
    with pytest.raises(LocalError):
        outcome_of_error(number, 2.0)


def test_a_cached_endpoint_that_does_not_respond_is_failing() -> None:
    """
    An endpoint that was ready before the start fails like a ready one.
    """
    gone = ("127.0.0.1", free_port())
    recorder = ProbeRecorder()
    recorder.watch(gone, was_ready=[gone])

    assert ["failing"] == recorder.wait_for(gone, FAILING)


def test_a_server_that_is_too_busy_to_accept_is_slow() -> None:
    """
    Its backlog is full, so connections time out.
    """
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        endpoint = listening.getsockname()
        recorder = ProbeRecorder(**FAST)
        recorder.watch(endpoint)
        recorder.wait_for(endpoint, READY)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(endpoint)

        assert "slow" in recorder.wait_for(endpoint, SLOW)
        for each in waiting:
            each.close()


def test_ipv6_is_probed_too() -> None:
    """
    An endpoint may be an IPv6 address.
    """
    try:
        server = Server(stay, "::1")
        server.__enter__()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        recorder = ProbeRecorder()
        recorder.watch(server.endpoint[:2])
        recorder.wait_for(server.endpoint[:2], READY)


@pytest.mark.parametrize(
    "parts, state",
    [
        ([b"HTTP/1.1 200 OK\r\n\r\n"], READY),
        ([b"HTTP/1.0 399 Odd\r\n"], READY),
        ([b"HTTP/1.1 204\r\n"], READY),
        ([b"HTT", b"P/1.1 20", b"0 OK\r", b"\n"], READY),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n"], READY),
        ([b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 503 No\r\n"], STARTING),
        ([b"HTTP/1.1 101 Switching Protocols\r\n\r\n"], STARTING),
        ([b"HTTP/1.1 404 Not Found\r\n\r\n"], STARTING),
        ([b"HTTP/1.1 500 Oh\r\n\r\n"], STARTING),
        ([b"HTTP/2 200 OK\r\n\r\n"], STARTING),
        ([b"HTTP/1.1 2000 OK\r\n\r\n"], STARTING),
        ([b"HTTP/1.1 +20 OK\r\n\r\n"], STARTING),
        ([b"HTTP/1.1 200 OK"], STARTING),
        ([b"HTTP/1.1 200 " + b"O" * 5000 + b"\r\n"], STARTING),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" * 500], STARTING),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], STARTING),
        ([b"\x16\x03\x01\x00"], STARTING),
        ([b"\r\n"], STARTING),
        ([], STARTING),
    ],
)
def test_http_is_judged_by_its_status_line(parts: list[bytes], state: HealthState) -> None:
    """
    It may arrive in parts, after interim responses, within 4 KiB; anything else is a failure.
    """
    with Server(respond(*parts)) as server:
        recorder = ProbeRecorder(HEALTH_PATH="/")
        recorder.watch(server.endpoint)

        assert [state.value] == recorder.wait_for(server.endpoint, state)


def test_an_http_probe_is_a_plain_get() -> None:
    """
    It has a User-Agent, the configured path unchanged, and `Connection: close`.
    """
    with Replica("one") as replica:
        recorder = ProbeRecorder(HEALTH_PATH="/v2/models/?x=1")
        recorder.watch(replica.endpoint)
        recorder.wait_for(replica.endpoint, READY)
        request = replica.seen[0]

        assert ("GET", "/v2/models/?x=1", b"") == (request.method, request.target, request.body)
        assert f"127.0.0.1:{replica.port}" == request.headers["Host"]
        assert 1 == len([name for name in request.headers if name == "Host"])
        assert "close" == request.headers["Connection"]
        assert f"autoexit-nginx/{__version__}" == request.headers["User-Agent"]


def test_health_status_sets_the_accepted_statuses() -> None:
    """
    A server that requires a password is up.
    """
    with Server(respond(b"HTTP/1.1 401 Unauthorized\r\n\r\n")) as server:
        recorder = ProbeRecorder(HEALTH_CHECK="http", HEALTH_STATUS="200-299,401")
        recorder.watch(server.endpoint)
        recorder.wait_for(server.endpoint, READY)


def test_a_response_that_times_out_is_slow() -> None:
    """
    The timeout is for the whole probe: single bytes do not extend it.
    """
    fast = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(4096)
        for byte in b"HTTP/1.1 200 OK\r\n":
            connection.sendall(bytes([byte]))
            fast.wait(0.1)

    with Server(drip) as server:
        fast.set()
        recorder = ProbeRecorder(HEALTH_PATH="/", **FAST)
        recorder.watch(server.endpoint)
        recorder.wait_for(server.endpoint, READY)
        fast.clear()

        assert ["ready", "slow"] == recorder.wait_for(server.endpoint, SLOW)


def test_a_target_that_stays_is_not_reported_again_and_a_removed_one_is_dropped() -> None:
    """
    A change of the set has no effect on the targets that stay in it.
    """
    with Replica("one") as one, Replica("two") as two:
        recorder = ProbeRecorder(**FAST)
        recorder.watch(one.endpoint, two.endpoint)
        recorder.wait_for(one.endpoint, READY)
        recorder.wait_for(two.endpoint, READY)
        recorder.watch(one.endpoint)
        two.stop()
        one.stop()
        recorder.wait_for(one.endpoint, FAILING)
        assert ["ready"] == recorder.history(two.endpoint)

        one.start()
        recorder.watch(one.endpoint, two.endpoint)
        recorder.wait_for(one.endpoint, READY)
        assert ["ready", "starting"] == recorder.wait_for(two.endpoint, STARTING)


def test_a_target_that_was_removed_and_added_again_is_reported_again() -> None:
    """
    However late the prober processes its commands, the loop has dropped the state in between:
    without a new event a ready endpoint would stay out of service.
    """
    with Replica("one") as one:
        recorder = ProbeRecorder(HEALTH_INTERVAL="1h")
        blocked, released = threading.Event(), threading.Event()
        events = recorder.events

        class Slow(list[Any]):
            def append(self, event: object) -> None:
                list.append(events, event)
                blocked.set()
                released.wait(10)

        recorder.events = Slow()
        recorder.watch(one.endpoint)
        assert blocked.wait(10)
        recorder.watch()
        recorder.watch(one.endpoint)
        recorder.events = events
        released.set()
        eventually(lambda: ["ready", "ready"] == recorder.history(one.endpoint))


def test_the_probe_of_a_removed_target_ends_at_once() -> None:
    """
    Its connection is closed without waiting for the timeout.
    """
    ended = threading.Event()

    def hang(connection: socket.socket) -> None:
        stay(connection)
        ended.set()

    with Server(hang) as server:
        recorder = ProbeRecorder(HEALTH_PATH="/", HEALTH_TIMEOUT="1h")
        recorder.watch(server.endpoint)
        eventually(lambda: server.accepted_at)
        recorder.watch()

        assert ended.wait(10)
        assert [] == recorder.events


def test_switching_protocols_is_no_interim_response() -> None:
    """
    No HTTP follows a 101, so its status is final; an incomplete response has no status yet.
    """
    assert 101 == status_of(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert status_of(b"HTTP/1.1 100 Continue\r\n") is None


def test_a_leaving_endpoint_is_probed_more_often() -> None:
    """
    It serves only while its probes pass, so its exit is detected at once.
    """
    with Replica("one") as replica:
        recorder = ProbeRecorder(HEALTH_INTERVAL="1h")
        recorder.watch(replica.endpoint)
        recorder.wait_for(replica.endpoint, READY)
        recorder.watch(leaving=[replica.endpoint])
        replica.stop()
        recorder.wait_for(replica.endpoint, FAILING)


def test_many_new_endpoints_are_reported_in_few_events() -> None:
    """
    Each event costs a merge over all endpoints, so changes are combined, and each endpoint is
    reported once.
    """
    with Server(stay, "0.0.0.0") as server:
        _, port = server.endpoint
        endpoints = [(f"127.0.{number // 200}.{number % 200 + 1}", port) for number in range(600)]
        recorder = ProbeRecorder()
        recorder.watch(*endpoints)
        for endpoint in endpoints:
            recorder.wait_for(endpoint, READY)

        assert 600 == sum(len(event.health_states) for _, event in recorder.events)
        assert len(recorder.events) < 100


def test_hanging_servers_never_use_up_all_probes() -> None:
    """
    At most 256 probes run at once, and hanging servers do not delay the probe of a new endpoint.
    """
    release = threading.Event()
    current, maximum = [0], [0]

    def hang(connection: socket.socket) -> None:
        current[0] += 1
        maximum[0] = max(maximum[0], current[0])
        stay(connection)
        current[0] -= 1

    with Server(hang, "0.0.0.0") as server, Replica("one") as replica:
        _, port = server.endpoint
        endpoints = [(f"127.0.{number // 200}.{number % 200 + 1}", port) for number in range(600)]
        recorder = ProbeRecorder(HEALTH_PATH="/", HEALTH_TIMEOUT="1s")
        recorder.watch(*endpoints)
        for endpoint in endpoints:
            recorder.wait_for(endpoint, STARTING, within=20.0)
        recorder.watch(*endpoints, replica.endpoint)
        recorder.wait_for(
            replica.endpoint, READY, within=0.9
        )  # less than the timeout of a hanging one
        release.set()

    assert 128 <= maximum[0] <= 270  # probes that just ended are still counted


def test_a_tcp_probe_leaves_no_errors_and_no_connections() -> None:
    """
    The probed server reads a normal end, and almost no connection stays in TIME_WAIT.
    """
    served: list[object] = []
    errors: list[object] = []

    class Strict(ThreadingHTTPServer):
        def finish_request(self, *args: Any) -> None:
            super().finish_request(*args)
            served.append(args)
            time.sleep(0.05)  # otherwise its close could precede the reset

        def handle_error(self, *_: object) -> None:
            errors.append(sys.exc_info()[1])

    with Strict(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        endpoint = ("127.0.0.1", server.server_port)
        recorder = ProbeRecorder(HEALTH_INTERVAL="30ms")
        idle = _descriptors()
        recorder.watch(endpoint)
        eventually(lambda: len(served) > 20)
        recorder.watch()
        eventually(lambda: _descriptors() <= idle)
        server.shutdown()

        assert [] == errors
        assert _time_wait_count(server.server_port) < 5  # of more than 20


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _time_wait_count(port: int) -> int:
    """Count the connections to a port in TIME_WAIT."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = [line.split()[1:4] for line in lines]
    return sum(1 for a, b, state in ends if f":{port:04X}" in f"{a} {b}" and state == "06")


def test_a_lack_of_descriptors_is_no_result() -> None:
    """
    Without a free descriptor no state is reported; with one the correct states are.
    """
    script = textwrap.dedent("""
        import resource, socket, time
        from tests.support.probing import ProbeRecorder
        from supervisor.core.model import HealthState

        with socket.create_server(("127.0.0.1", 0)) as server:
            endpoint = server.getsockname()
            recorder = ProbeRecorder()
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            taken = []
            try:
                while True:
                    taken.append(socket.socket())
            except OSError:
                pass
            gone = ("127.0.0.1", 1)
            started_at = time.monotonic()
            recorder.watch(endpoint, gone)
            targets = recorder.probes._targets
            from tests.support.waiting import eventually
            eventually(lambda: len(targets) == 2)
            retry_at = started_at + 0.4
            eventually(lambda: all(target.due > retry_at for target in targets.values()))
            assert not recorder.events
            for each in taken:
                each.close()
            recorder.wait_for(endpoint, HealthState.READY)
            recorder.wait_for(gone, HealthState.STARTING)
            print("reported", recorder.history(endpoint))
    """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )

    assert "reported ['ready']\n" == done.stdout, done.stderr
