"""
IDLE_TIMEOUT with real nginx: what is use, what is none, and the end of a service without use.
"""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from supervisor.nginx import public_port
from tests.support.client import connect, request_bytes
from tests.support.held_connection import HeldConnection
from tests.support.nginxes import BOTH
from tests.support.reloading import reload
from tests.support.repeated import repeated
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually, free_port

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

nginxes = pytest.mark.parametrize("nginx", BOTH)

#: IDLE_TIMEOUT of these runs, and how much later the end may come: a look every 0.5 s, and what
#: nginx needs to write a request down.
TIMEOUT = 4.0
LATE = 3.5


def start(supervise: Supervise, nginx: str, *served: Replica, **settings: str) -> Supervised:
    """
    Serve until it is ready; the last request is that of this function.
    """
    options = {"TTL": "10m", "IDLE_TIMEOUT": f"{TIMEOUT:g}s", "STOP_TIMEOUT": "1s", **settings}
    subject = supervise(pid1=False, NGINX_BINARY=nginx, DRAIN_TIMEOUT="2s", **options)
    subject.offer(*served)
    subject.ready()
    return subject


def ended_idle(subject: Supervised, since: float, within: float) -> float:
    """
    Wait for the end, and return how long after `since` it came.
    """
    assert 0 == subject.wait(within)
    report = subject.ended
    assert report is not None
    assert ("idle", 0) == (report["reason"], report["code"])
    return time.monotonic() - since


@contextmanager
def kept_open(port: int, request: bytes) -> Iterator[Callable[[], object]]:
    """
    Yield a client that keeps its connection as long as the server does, as a proxy's check.
    """
    held: list[socket.socket] = []

    def ask() -> None:
        if not held:
            held.append(connect(port))
        received = b""
        with suppress(OSError):
            held[0].sendall(request)
            received = held[0].recv(65536)
        if not received:
            held.pop().close()

    yield ask
    for each in held:
        each.close()


@nginxes
@pytest.mark.slow
def test_it_ends_by_itself_while_all_kinds_of_looks_go_on(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    Probes, READY_PATH on kept connections, metrics, status, the page, and TCP checks of the public
    port are no use: it ends with code 0 as if nobody were there.
    """
    (one,) = replicas("one")
    admin = free_port()
    subject = start(
        supervise, nginx, one, ADMIN_PORT=str(admin), HEALTH_PATH="/headers", HEALTH_INTERVAL="1s"
    )
    since = time.monotonic()

    def scrape(path: str) -> Callable[[], object]:
        return lambda: read_all(admin, path)

    def tcp_check() -> None:
        connect(subject.port).close()

    ready = b"GET /-/ready HTTP/1.1\r\nHost: test\r\n\r\n"
    with (
        kept_open(subject.port, ready) as keep_asking,
        repeated(keep_asking, 0.1),
        repeated(lambda: public_port.answers([f"127.0.0.1:{subject.port}"]), 0.4),
        repeated(lambda: subject.get("/-/ready?x=1"), 0.3),
        repeated(scrape("/metrics"), 0.3),
        repeated(scrape("/status"), 0.3),
        repeated(scrape("/"), 0.5),
        repeated(tcp_check, 0.2),
    ):
        took = ended_idle(subject, since, TIMEOUT + LATE + 3)

    assert TIMEOUT - 0.5 < took < TIMEOUT + LATE
    assert sum("/headers" in each.target for each in one.seen) >= 3  # probes went on
    warning = subject.log_lines("idle.near")[0]
    assert 0 < warning["remaining"] <= TIMEOUT / 4
    assert [] == [line for line in subject.logs if line["level"] == "error"]


def read_all(port: int, path: str) -> bytes:
    """
    Read a whole answer of the admin port.
    """
    with connect(port) as client:
        client.sendall(request_bytes(path))
        parts = iter(lambda: client.recv(65536), b"")
        return b"".join(parts)


@nginxes
@pytest.mark.slow
@pytest.mark.parametrize("log", ["off", "json"])
def test_a_request_a_second_keeps_it(
    supervise: Supervise, replicas: Replicas, nginx: str, log: str
) -> None:
    """
    For three times IDLE_TIMEOUT; then it ends one IDLE_TIMEOUT after the last request.
    """
    (one,) = replicas("one")
    subject = start(supervise, nginx, one, ACCESS_LOG=log)

    with repeated(subject.get, 1.0):
        began = time.monotonic()
        eventually(lambda: time.monotonic() - began > 3 * TIMEOUT, 3 * TIMEOUT + 2)
    since = time.monotonic()
    assert subject.running

    assert ended_idle(subject, since, TIMEOUT + LATE + 3) > TIMEOUT - 1.0


@nginxes
@pytest.mark.slow
def test_one_request_shortly_before_the_end_keeps_it(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    A single short request, 1 s before the end, gives the whole time again.
    """
    (one,) = replicas("one")
    subject = start(supervise, nginx, one)
    subject.wait_for_log("idle.near")

    subject.get()
    since = time.monotonic()

    assert TIMEOUT - 0.1 < ended_idle(subject, since, TIMEOUT + LATE + 3)
    assert subject.log_lines("idle.over")


@nginxes
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["websocket", "slow", "upload"])
def test_an_open_request_keeps_it_however_silent(
    supervise: Supervise, replicas: Replicas, nginx: str, kind: str
) -> None:
    """
    A WebSocket without a frame, a response that is still computed, and an upload that nginx still
    buffers; also after a reload, when a worker of the earlier generation holds it.
    """
    (one,) = replicas("one")
    settings = {"MAX_BODY_SIZE": "1g"} if kind == "upload" else {}
    subject = start(supervise, nginx, one, **settings)
    reload(subject)  # workers of the start would refuse an upload with 503
    began = time.monotonic()
    if kind == "websocket":
        held = HeldConnection.websocket(subject.port)
    elif kind == "slow":
        held = HeldConnection.slow(subject.port, 3 * TIMEOUT + 1)
    else:
        head = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nabc"
        held = HeldConnection(subject.port, head)

    reload(subject)
    eventually(lambda: time.monotonic() - began > 3 * TIMEOUT, 3 * TIMEOUT + 2)
    assert subject.running, held.received
    held.close()

    ended_idle(subject, time.monotonic(), TIMEOUT + LATE + 5)


@nginxes
@pytest.mark.slow
def test_an_operators_access_log_that_hides_requests_prevents_the_idle_end(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    An `access_log` in server.d replaces the generated ones: what is not seen must not end it.
    """
    (one,) = replicas("one")
    subject = supervise(
        pid1=False, NGINX_BINARY=nginx, TTL="14s", IDLE_TIMEOUT="2s", DRAIN_TIMEOUT="1s"
    )
    subject.offer(one)
    subject.ready()
    subject.write_in("server.d", "log.conf", "access_log off;\n")
    subject.signal(signal.SIGHUP)

    line = subject.wait_for_log("idle.unknown")

    assert "server.d/log.conf:1" in line["reason"]
    assert 0 == subject.wait(20)
    assert subject.ended is not None
    assert "deadline" == subject.ended["reason"]


@pytest.mark.slow
def test_a_removed_file_and_reopened_logs_hide_nothing(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    A cleanup job that removes the file, with and without a reload or USR1 after it, hides no
    request.
    """
    (one,) = replicas("one")
    subject = start(supervise, "nginx", one)
    log = subject.find("use.log")

    for disturb in (
        lambda: None,
        lambda: subject.signal(signal.SIGUSR1),
        lambda: reload(subject),
    ):
        log.unlink(missing_ok=True)
        disturb()
        before = len(subject.log_lines("idle.over"))
        eventually(lambda seen=before: len(subject.log_lines("idle.near")) > seen)
        subject.get()
        eventually(lambda seen=before: len(subject.log_lines("idle.over")) > seen, 4)

    assert subject.running
