import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from supervisor.core.model import Endpoint, Mode, Plan
from tests.support.client import Answer, connect, get, read_answer, request_bytes
from tests.support.killed_writes import configs
from tests.support.nginxes import BOTH, current
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]

KEPT = {"Connection": "keep-alive"}

nginxes = pytest.mark.parametrize("nginx", BOTH)
newest = pytest.mark.skipif(not current(), reason="no nginx wheel for this machine")


@pytest.fixture
def pair() -> Iterator[tuple[Replica, Replica]]:
    """
    The replica before a change, and the one after it.
    """
    with Replica("before") as before, Replica("after") as after:
        yield before, after


def request(line: socket.socket, path: str, method: str = "GET", body: bytes = b"") -> Answer:
    """
    Send a request on a kept connection and return the response.
    """
    line.sendall(request_bytes(path, method, body, KEPT))
    return read_answer(line, method)


def connection_of_old_worker(
    supervise: Supervise, pair: tuple[Replica, Replica], **options: str
) -> tuple[Supervised, socket.socket]:
    """
    Return the program and a kept connection to an old worker, on which a stream has just ended; its
    replica was replaced meanwhile and has stopped.
    """
    before, after = pair
    subject = supervise(pid1=False, START_WAIT="5s", NGINX_BINARY=current(), **options)
    subject.offer(before)
    subject.ready(status=200)
    line = connect(subject.port)
    line.sendall(request_bytes("/sse?seconds=2", headers=KEPT))
    eventually(lambda: before.requests["GET /sse"])
    subject.offer(after)
    eventually(lambda: "after" == subject.get().text)
    eventually(subject.draining_workers)
    stream = read_answer(line)
    assert stream.text.startswith("data: before")
    assert "close" != stream.headers["Connection"]
    before.stop()
    return subject, line


@newest
@pytest.mark.parametrize("method,body", [("GET", b""), ("POST", b"x" * 300_000)])
def test_L02_a_request_after_a_long_stream_reaches_the_new_replicas(
    supervise: Supervise, pair: tuple[Replica, Replica], method: str, body: bytes
) -> None:
    """
    A request on the connection of a long stream, which belongs to an old worker whose endpoints are
    gone, is answered by the current endpoints.
    """
    _, line = connection_of_old_worker(supervise, pair)
    with line:
        answer = request(line, "/", method, body)

    assert (200, "after") == (answer.status, answer.headers["X-Replica"])
    assert body in {b"", answer.body}
    assert "close" == answer.headers["Connection"]


@newest
@pytest.mark.parametrize("trusted", ["", "127.0.0.0/8"])
def test_a_handed_on_request_has_the_client_s_headers(
    supervise: Supervise, pair: tuple[Replica, Replica], trusted: str
) -> None:
    """
    The replica gets the same forwarding headers from an old worker as from a current one.
    """
    sent: Mapping[str, str] = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    subject, line = connection_of_old_worker(supervise, pair, TRUSTED_PROXIES=trusted)
    direct = get(subject.port, "/headers", headers=sent).text.splitlines()
    with line:
        line.sendall(request_bytes("/headers", headers={**KEPT, **sent}))
        handed_on = read_answer(line).text.splitlines()

    def same(lines: list[str]) -> list[str]:
        return sorted(each for each in lines if not each.startswith("X-Request-ID"))

    assert same(direct) == same(handed_on)
    assert f"X-Forwarded-Proto: {'https' if trusted else 'http'}" in handed_on
    assert 1 == sum(each.startswith("X-Request-ID: ") for each in handed_on)


@newest
def test_an_upgrade_is_handed_on(supervise: Supervise, pair: tuple[Replica, Replica]) -> None:
    """
    A WebSocket upgrade is handed on, too, and stays on the old worker.
    """
    _, line = connection_of_old_worker(supervise, pair)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x" * 22}
    with line:
        line.sendall(request_bytes("/ws", headers=upgrade))
        assert b"101 " in line.recv(65536)
        line.sendall(b"hello")

        assert b"hello" == line.recv(65536)


@nginxes
def test_a_refusal_closes_the_connection(supervise: Supervise, nginx: str) -> None:
    """
    A 503 closes its connection, so that the next request reaches the current worker.
    """
    subject = supervise(pid1=False, NGINX_BINARY=nginx)
    subject.ready(status=503)
    with connect(subject.port) as line:
        answer = request(line, "/")

        assert (503, "close") == (answer.status, answer.headers["Connection"])
        assert b"" == line.recv(1)


@newest
@pytest.mark.parametrize("pattern", ["current.sock", "cur-*.sock"])
@pytest.mark.parametrize("method,body", [("GET", b""), ("POST", b"x" * 300_000)])
def test_P13_without_its_socket_an_old_worker_answers_itself(
    supervise: Supervise, pair: tuple[Replica, Replica], pattern: str, method: str, body: bytes
) -> None:
    """
    The socket through which old workers reach the current ones was removed, or the link to it:
    until it is there again, an old worker uses its own endpoints instead of answering 502.
    """
    subject, line = connection_of_old_worker(supervise, pair)
    pair[0].start()
    (path,) = (subject.home / "run").glob(pattern)
    with line:
        path.unlink()
        answer = request(line, "/", method, body)

    assert (200, "before") == (answer.status, answer.headers["X-Replica"])


def test_old_generations_are_marked_as_over(tmp_path: Path) -> None:
    """
    Every old generation is marked as over, at most the last 128, and none after a clear.
    """
    written = configs(tmp_path)
    names = []
    for attempt in range(1, 201):
        plan = Plan((Endpoint("10.0.0.1", attempt),), Mode.SERVE)
        names.append(written.stage(attempt, plan, 0)[0].generation)
        written.swap(attempt)
        written.keep(attempt)
        assert names[-1] not in (marked := {path.name for path in tmp_path.glob("over/*")})
        assert set(names[-101:-1]) <= marked
    assert 128 == len(marked)

    configs(tmp_path).clear()

    assert not (tmp_path / "over").exists()
