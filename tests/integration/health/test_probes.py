"""
The probes themselves, against servers of every kind.
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
from supervisor.health.probe import LocalError, result_of_error, status_of
from supervisor.health.state import ProbeResult
from tests.support.listening import Listener
from tests.support.probing import Probed
from tests.support.replica import Replica
from tests.support.waiting import eventually, free_port

READY, SLOW, FAILING = HealthState.READY, HealthState.SLOW, HealthState.FAILING
STARTING = HealthState.STARTING

BRISK = {"HEALTH_INTERVAL": "100ms", "HEALTH_TIMEOUT": "150ms"}


class Server:
    """
    Treats every connection the same way, and knows when each of them came.
    """

    def __init__(self, treat: Callable[[socket.socket], None], host: str = "127.0.0.1") -> None:
        self.came: list[float] = []
        self._treat = treat
        self._listener = Listener((host, 0), self._attend)

    def _attend(self, connection: socket.socket) -> None:
        self.came.append(time.monotonic())
        self._treat(connection)

    def __enter__(self) -> Self:
        self._listener.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    @property
    def endpoint(self) -> tuple[str, int]:
        """
        Where it listens.
        """
        assert not isinstance(self._listener.address, Path)
        return self._listener.address


def stay(connection: socket.socket) -> None:
    """Wait until the other side ends."""
    while connection.recv(4096):
        pass


def leave(_: socket.socket) -> None:
    """End the connection at once."""


def reset(connection: socket.socket) -> None:
    """Cut the connection as a crash does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def speak(connection: socket.socket) -> None:
    """Say something first, and stay."""
    connection.sendall(b"220 ready\r\n")
    stay(connection)


def answer(*parts: bytes) -> Callable[[socket.socket], None]:
    """Take the request and send these bytes, part by part."""

    def treat(connection: socket.socket) -> None:
        connection.recv(4096)
        for part in parts:
            connection.sendall(part)
            time.sleep(0.005)  # so that the parts arrive apart

    return treat


@pytest.mark.parametrize("treat", [stay, speak])
def test_what_accepts_and_stays_open_is_ready(treat: Callable[[socket.socket], None]) -> None:
    """
    25 ms after the connection, and whatever the server says first.
    """
    with Server(treat) as server:
        probed = Probed()
        began = time.monotonic()
        probed.watch(server.endpoint)

        assert ["ready"] == probed.becomes(server.endpoint, READY)
        assert probed.told_at(server.endpoint, READY) - began > 0.025


@pytest.mark.parametrize("treat", [leave, reset])
def test_what_accepts_and_closes_is_not_ready(treat: Callable[[socket.socket], None]) -> None:
    """
    Docker's port proxy accepts before anybody listens behind it, and closes at once.

    On a busy machine this server may take longer than 25 ms once, so it may try again.
    """
    histories = []
    for _ in range(5):
        with Server(treat) as server:
            probed = Probed(HEALTH_FALL="1")
            probed.watch(server.endpoint)
            eventually(lambda: len(server.came) > 5)
            probed.watch()
        histories.append(probed.history(server.endpoint))
        if histories[-1] == ["starting"]:
            return

    raise AssertionError(histories)


def test_what_comes_up_late_is_ready_soon_after() -> None:
    """
    A newcomer is asked every 50 ms, so it serves soon after it listens.
    """
    replica = Replica("late", port=free_port())
    probed = Probed()
    probed.watch(replica.endpoint)
    probed.becomes(replica.endpoint, STARTING)

    with replica:
        listening = time.monotonic()
        assert ["starting", "ready"] == probed.becomes(replica.endpoint, READY)

    assert probed.told_at(replica.endpoint, READY) - listening < 0.5


def test_what_dies_is_lost_and_may_come_back() -> None:
    """
    A refused connection counts double: one probe is enough.
    """
    probed = Probed(**BRISK)
    with Replica("one") as replica:
        probed.watch(replica.endpoint)
        probed.becomes(replica.endpoint, READY)
        replica.stop()
        probed.becomes(replica.endpoint, FAILING)
        replica.start()

        assert ["ready", "failing", "ready"] == probed.becomes(replica.endpoint, READY)


@pytest.mark.parametrize(
    "number, verdict",
    [
        (errno.ECONNREFUSED, ProbeResult.REFUSED),
        (errno.ETIMEDOUT, ProbeResult.TIMED_OUT),
        (errno.ECONNRESET, ProbeResult.FAILED),
        (errno.EHOSTUNREACH, ProbeResult.FAILED),
        (errno.ENETUNREACH, ProbeResult.FAILED),
    ],
)
def test_why_a_connection_failed_tells_how_bad_it_is(number: int, verdict: ProbeResult) -> None:
    """
    Refused is worse than failed, and the kernel's own patience is a timeout too.
    """
    assert verdict is result_of_error(number)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL])
def test_what_fails_on_this_side_is_no_verdict(number: int) -> None:
    """
    Descriptors, memory and ports are ours; their lack says nothing about an endpoint.
    """
    with pytest.raises(LocalError):
        result_of_error(number)


def test_a_remembered_one_that_does_not_answer_is_failing() -> None:
    """
    One that was ready before we were started is lost like a ready one.
    """
    gone = ("127.0.0.1", free_port())
    probed = Probed()
    probed.watch(gone, was_ready=[gone])

    assert ["failing"] == probed.becomes(gone, FAILING)


def test_a_server_that_is_too_busy_to_accept_is_slow() -> None:
    """
    Its backlog is full, so nothing answers our packets: that is no sign of death.
    """
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        endpoint = listening.getsockname()
        probed = Probed(**BRISK)
        probed.watch(endpoint)
        probed.becomes(endpoint, READY)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(endpoint)

        assert "slow" in probed.becomes(endpoint, SLOW)
        for each in waiting:
            each.close()


def test_ipv6_is_probed_too() -> None:
    """
    An endpoint is an address of either kind.
    """
    try:
        server = Server(stay, "::1")
        server.__enter__()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        probed = Probed()
        probed.watch(server.endpoint[:2])
        probed.becomes(server.endpoint[:2], READY)


@pytest.mark.parametrize(
    "parts, condition",
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
def test_http_is_judged_by_its_status_line(parts: list[bytes], condition: HealthState) -> None:
    """
    In whatever pieces it comes, after interim answers, in 4 KiB at most; garbage is a failure.
    """
    with Server(answer(*parts)) as server:
        probed = Probed(HEALTH_PATH="/")
        probed.watch(server.endpoint)

        assert [condition.value] == probed.becomes(server.endpoint, condition)


def test_an_http_probe_is_a_plain_get() -> None:
    """
    It says who asks, wants the path as it was set, and wants no second answer.
    """
    with Replica("one") as replica:
        probed = Probed(HEALTH_PATH="/v2/models/?x=1")
        probed.watch(replica.endpoint)
        probed.becomes(replica.endpoint, READY)
        request = replica.seen[0]

        assert ("GET", "/v2/models/?x=1", b"") == (request.method, request.target, request.body)
        assert f"127.0.0.1:{replica.port}" == request.headers["Host"]
        assert "close" == request.headers["Connection"]
        assert f"autoexit-nginx/{__version__}" == request.headers["User-Agent"]


def test_health_status_says_which_answers_are_good() -> None:
    """
    A server that wants a password of everyone is up.
    """
    with Server(answer(b"HTTP/1.1 401 Who\r\n\r\n")) as server:
        probed = Probed(HEALTH_CHECK="http", HEALTH_STATUS="200-299,401")
        probed.watch(server.endpoint)
        probed.becomes(server.endpoint, READY)


def test_an_answer_that_does_not_come_in_time_is_slow() -> None:
    """
    The deadline is of the whole probe: one byte now and then does not prolong it.
    """
    brisk = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(4096)
        for byte in b"HTTP/1.1 200 OK\r\n":
            connection.sendall(bytes([byte]))
            brisk.wait(0.1)

    with Server(drip) as server:
        brisk.set()
        probed = Probed(HEALTH_PATH="/", **BRISK)
        probed.watch(server.endpoint)
        probed.becomes(server.endpoint, READY)
        brisk.clear()

        assert ["ready", "slow"] == probed.becomes(server.endpoint, SLOW)


def test_who_stays_is_not_told_anew_and_who_goes_is_forgotten() -> None:
    """
    A change of the set costs nothing for those that stay in it.
    """
    with Replica("one") as one, Replica("two") as two:
        probed = Probed(**BRISK)
        probed.watch(one.endpoint, two.endpoint)
        probed.becomes(one.endpoint, READY)
        probed.becomes(two.endpoint, READY)
        probed.watch(one.endpoint)
        two.stop()
        one.stop()
        probed.becomes(one.endpoint, FAILING)
        assert ["ready"] == probed.history(two.endpoint)

        one.start()
        probed.watch(one.endpoint, two.endpoint)
        probed.becomes(one.endpoint, READY)
        assert ["ready", "starting"] == probed.becomes(two.endpoint, STARTING)


def test_who_went_and_came_while_nobody_looked_is_told_anew() -> None:
    """
    However late the prober gets to its orders, who asked forgot in between: silence would leave an
    endpoint that is ready out for good.
    """
    with Replica("one") as one:
        probed = Probed(HEALTH_INTERVAL="1h")
        held, released = threading.Event(), threading.Event()
        keep = probed.events

        class Slow(list[Any]):
            def append(self, event: object) -> None:
                list.append(keep, event)
                held.set()
                released.wait(10)

        probed.events = Slow()
        probed.watch(one.endpoint)
        assert held.wait(10)
        probed.watch()
        probed.watch(one.endpoint)
        probed.events = keep
        released.set()
        eventually(lambda: ["ready", "ready"] == probed.history(one.endpoint))


def test_a_probe_of_one_that_is_gone_ends_at_once() -> None:
    """
    Nobody is kept connected for an answer that nobody wants any more.
    """
    ended = threading.Event()

    def hang(connection: socket.socket) -> None:
        stay(connection)
        ended.set()

    with Server(hang) as server:
        probed = Probed(HEALTH_PATH="/", HEALTH_TIMEOUT="1h")
        probed.watch(server.endpoint)
        eventually(lambda: server.came)
        probed.watch()

        assert ended.wait(10)
        assert [] == probed.events


def test_switching_protocols_is_no_interim_answer() -> None:
    """
    Nothing of HTTP follows it, so it is judged as it is; what is cut short is not judged yet.
    """
    assert 101 == status_of(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert status_of(b"HTTP/1.1 100 Continue\r\n") is None


def test_one_that_leaves_is_asked_more_often() -> None:
    """
    It serves only as long as it answers, so its death is seen at once.
    """
    with Replica("one") as replica:
        probed = Probed(HEALTH_INTERVAL="1h")
        probed.watch(replica.endpoint)
        probed.becomes(replica.endpoint, READY)
        probed.watch(leaving=[replica.endpoint])
        replica.stop()
        probed.becomes(replica.endpoint, FAILING)


def test_many_newcomers_are_told_in_few_events() -> None:
    """
    Each event costs a merge over all endpoints, so what is learned together is told together,
    and each of them once.
    """
    with Server(stay, "0.0.0.0") as server:
        _, port = server.endpoint
        endpoints = [(f"127.0.{number // 200}.{number % 200 + 1}", port) for number in range(600)]
        probed = Probed()
        probed.watch(*endpoints)
        for endpoint in endpoints:
            probed.becomes(endpoint, READY)

        assert 600 == sum(len(event.health_states) for _, event in probed.events)
        assert len(probed.events) < 100


def test_silent_servers_never_use_up_all_probes() -> None:
    """
    At most 256 probes run at once, and servers that hang cannot keep a newcomer from being seen.
    """
    release = threading.Event()
    at_once, most = [0], [0]

    def hang(connection: socket.socket) -> None:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        stay(connection)
        at_once[0] -= 1

    with Server(hang, "0.0.0.0") as server, Replica("one") as replica:
        _, port = server.endpoint
        endpoints = [(f"127.0.{number // 200}.{number % 200 + 1}", port) for number in range(600)]
        probed = Probed(HEALTH_PATH="/", HEALTH_TIMEOUT="1s")
        probed.watch(*endpoints)
        for endpoint in endpoints:
            probed.becomes(endpoint, STARTING, within=20.0)
        probed.watch(*endpoints, replica.endpoint)
        probed.becomes(replica.endpoint, READY, within=0.9)  # less than a hung one takes
        release.set()

    assert 128 <= most[0] <= 270  # those that just ended are still counted for a moment


def test_a_probe_by_tcp_leaves_no_trace() -> None:
    """
    The probed server reads a plain end, and almost none stays behind in TIME_WAIT.
    """
    served: list[object] = []
    troubles: list[object] = []

    class Strict(ThreadingHTTPServer):
        def finish_request(self, *given: Any) -> None:
            super().finish_request(*given)
            served.append(given)
            time.sleep(0.05)  # before it closes: at once, it may be quicker than the reset

        def handle_error(self, *_: object) -> None:
            troubles.append(sys.exc_info()[1])

    with Strict(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        endpoint = ("127.0.0.1", server.server_port)
        probed = Probed(HEALTH_INTERVAL="30ms")
        idle = _descriptors()
        probed.watch(endpoint)
        eventually(lambda: len(served) > 20)
        probed.watch()
        eventually(lambda: _descriptors() <= idle)
        server.shutdown()

        assert [] == troubles
        assert _lingering(server.server_port) < 5  # of more than 20


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _lingering(port: int) -> int:
    """Count the connections to a port that wait for their end."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = [line.split()[1:4] for line in lines]
    return sum(1 for a, b, state in ends if f":{port:04X}" in f"{a} {b}" and state == "06")


def test_our_own_shortage_is_no_verdict() -> None:
    """
    Without a free descriptor nothing is said of anybody, and later the truth is.
    """
    script = textwrap.dedent("""
        import resource, socket, time
        from tests.support.probing import Probed
        from supervisor.core.model import HealthState

        with socket.create_server(("127.0.0.1", 0)) as server:
            endpoint = server.getsockname()
            probed = Probed()
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            taken = []
            try:
                while True:
                    taken.append(socket.socket())
            except OSError:
                pass
            gone = ("127.0.0.1", 1)
            began = time.monotonic()
            probed.watch(endpoint, gone)
            tried = probed.probes._records
            from tests.support.waiting import eventually
            eventually(lambda: len(tried) == 2 and all(r.due > began + 0.4 for r in tried.values()))
            assert not probed.events
            for each in taken:
                each.close()
            probed.becomes(endpoint, HealthState.READY)
            probed.becomes(gone, HealthState.STARTING)
            print("told", probed.history(endpoint))
    """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )

    assert "told ['ready']\n" == done.stdout, done.stderr
