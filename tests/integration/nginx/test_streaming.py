"""
Request and response bodies are streamed, complete, and without a copy.
"""

import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Queue

import psutil
import pytest

from supervisor.core.model import Endpoint, Mode, Plan
from tests.support.client import connect, get, read_answer, request_bytes
from tests.support.held_connection import HeldConnection
from tests.support.listening import listening
from tests.support.nginxes import BOTH
from tests.support.rendered import running
from tests.support.replica import Replica
from tests.support.waiting import eventually
from tests.support.wire import Reply, read_request

Replicas = Callable[..., list[Replica]]

nginxes = pytest.mark.parametrize("nginx", BOTH)

CHUNKED_POST = (
    b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
)
MIB = 1 << 20

#: How a response marks its end.
FRAMINGS = {
    "chunked": b"Transfer-Encoding: chunked\r\n",
    "length": b"Content-Length: 45\r\n",
    "close": b"Connection: close\r\n",
}


def plan(*endpoints: tuple[str, int]) -> Plan:
    return Plan(tuple(sorted(Endpoint(*each) for each in endpoints)), Mode.SERVE)


def answering(reply: bytes) -> Callable[[socket.socket], None]:
    """
    Return a function that answers every request with these bytes.
    """

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while read_request(stream):
                connection.sendall(reply)

    return serve


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@nginxes
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("size", ["0", "1m"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_an_event_arrives_before_the_next_is_sent(
    nginx: str, method: str, size: str, framing: str
) -> None:
    """
    Each event of a streamed response, such as the output of a language model, reaches the client
    before the replica sends the next, with every framing.
    """
    arrived = threading.Semaphore(0)
    produced = []

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            assert read_request(stream)
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + FRAMINGS[framing] + b"\r\n")
        for n in range(5):
            produced.append(n)
            event = b"data: %d\n\n" % n
            connection.sendall(chunk(event) if framing == "chunked" else event)
            assert arrived.acquire(timeout=5)
        if framing == "chunked":
            connection.sendall(chunk(b""))

    with (
        listening(serve) as endpoint,
        running(nginx, plan(endpoint), {"MAX_BODY_SIZE": size}) as port,
        HeldConnection(
            port, request_bytes("/", method, b"{}" if method == "POST" else b"")
        ) as client,
    ):
        for n in range(5):
            eventually(lambda n=n: b"data: %d\n" % n in client.received)
            assert [*range(n + 1)] == produced
            arrived.release()
        client.wait()
        assert client.answer
        assert b"".join(b"data: %d\n\n" % n for n in range(5)) == client.answer.body


@nginxes
def test_an_upload_is_streamed_to_the_replica(nginx: str) -> None:
    """
    The first piece of a body of any size arrives before the second is sent.
    """
    pieces: Queue[bytes] = Queue()

    def serve(connection: socket.socket) -> None:
        with suppress(OSError):
            while data := connection.recv(65536):
                pieces.put(data)
                if data.endswith(b"0\r\n\r\n"):
                    connection.sendall(Reply(200, b"done").encode())

    def wait_for(wanted: bytes) -> None:
        seen = b""
        while wanted not in seen:
            seen += pieces.get(timeout=5)

    with (
        listening(serve) as endpoint,
        running(nginx, plan(endpoint)) as port,
        connect(port) as client,
    ):
        client.sendall(CHUNKED_POST)
        for word in (b"first", b"second", b"third"):
            client.sendall(chunk(word))
            wait_for(word)
        client.sendall(chunk(b""))
        assert b"done" == read_answer(client).body


@nginxes
def test_with_a_size_an_upload_is_buffered_first(nginx: str, replicas: Replicas) -> None:
    """
    With MAX_BODY_SIZE the replica receives the request when the body is complete.  A larger body is
    refused with 413, with or without a Content-Length.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one.endpoint), {"MAX_BODY_SIZE": "100k"}) as port:
        with connect(port) as client:
            client.sendall(CHUNKED_POST + chunk(b"first"))
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.recv(1)
            assert 0 == one.total
            client.settimeout(5)
            client.sendall(chunk(b" and last") + chunk(b""))
            assert b"first and last" == read_answer(client).body
        assert 200 == get(port, method="POST", body=b"x" * (100 << 10)).status
        before = one.total
        assert 413 == get(port, method="POST", body=b"x" * ((100 << 10) + 1)).status
        with connect(port) as client:
            client.sendall(CHUNKED_POST + chunk(b"x" * (101 << 10)))
            assert 413 == read_answer(client).status
        assert before == one.total


@nginxes
@pytest.mark.parametrize("size", ["0", "1m"])
def test_a_chunked_upload_survives_an_endpoint_that_refuses(
    nginx: str, size: str, replicas: Replicas
) -> None:
    """
    None of its bytes were sent, so the next endpoint gets all of them.
    """
    (one,) = replicas("one")
    one.stop()
    echo: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        seen = b""
        with suppress(OSError):
            while data := connection.recv(65536):
                seen += data
                if seen.endswith(b"0\r\n\r\n") or b"whole body" in seen:
                    echo.append(seen)
                    connection.sendall(Reply(200, b"done").encode())
                    seen = b""

    with (
        listening(serve) as endpoint,
        running(
            nginx,
            plan(one.endpoint, endpoint),
            {"MAX_BODY_SIZE": size, "LB_METHOD": "round_robin"},
        ) as port,
    ):
        for _ in range(4):
            with connect(port) as client:
                client.sendall(CHUNKED_POST + chunk(b"whole body") + chunk(b""))
                assert b"done" == read_answer(client).body
    assert 4 == len(echo)


@nginxes
@pytest.mark.parametrize("size", ["0", "200m"])
def test_a_large_upload_is_not_copied(nginx: str, size: str) -> None:
    """
    100 MB are neither written to a file nor kept in memory, unless MAX_BODY_SIZE is set.
    """
    total, digest = 100 * MIB, hashlib.sha256()
    block = random.Random(1).randbytes(MIB)

    def serve(connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        body = head.partition(b"\r\n\r\n")[2]
        digest.update(body)
        received = len(body)
        while received < total:
            data = connection.recv(MIB)
            if not data:
                return
            digest.update(data)
            received += len(data)
        connection.sendall(Reply(200, digest.hexdigest().encode()).encode())

    with (
        listening(serve) as endpoint,
        running(nginx, plan(endpoint), {"MAX_BODY_SIZE": size}) as port,
        connect(port, timeout=60) as client,
    ):
        workers = [
            each
            for each in psutil.Process().children(recursive=True)
            if each.status() != psutil.STATUS_ZOMBIE and "worker" in str(each.cmdline())
        ]
        before = [each.memory_info().rss for each in workers]
        files_seen, grown = 0, 0
        expected = hashlib.sha256()
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
        client.sendall(b"Content-Length: %d\r\n\r\n" % total)
        for n in range(100):
            client.sendall(block)
            expected.update(block)
            if n % 10 == 9:
                files_seen += sum("temp/body" in name for name in map(str, files_of(workers)))
                now = [each.memory_info().rss for each in workers]
                grown = max(grown, *(new - old for new, old in zip(now, before, strict=True)))
        assert expected.hexdigest() == read_answer(client).text
    assert bool(files_seen) == (size != "0")
    assert grown < 20 * MIB


def files_of(processes: list[psutil.Process]) -> Iterator[Path]:
    """
    Yield the open files of these processes, deleted ones included.
    """
    for each in processes:
        for entry in Path(f"/proc/{each.pid}/fd").iterdir():
            with suppress(OSError):
                yield entry.readlink()


@nginxes
@pytest.mark.parametrize("word", ["websocket", "WebSocket"])
def test_a_websocket_carries_bytes_both_ways(nginx: str, word: str, replicas: Replicas) -> None:
    """
    WebSockets work without a setting, in every spelling of the protocol, and stay open.
    """
    (one,) = replicas("one")
    head = request_bytes(
        "/ws", headers={"Connection": "Upgrade", "Upgrade": word, "Sec-WebSocket-Key": "x"}
    )
    with running(nginx, plan(one.endpoint)) as port, HeldConnection(port, head) as client:
        eventually(lambda: b"\r\n\r\n" in client.received)
        assert 101 == client.status
        assert "websocket" == one.seen[0].headers["Upgrade"]
        assert "upgrade" == one.seen[0].headers["Connection"]
        for message in (b"\x00ping\xff", b"pong" * 5000):
            before = len(client.received)
            client.send(message)
            eventually(lambda n=before, sent=message: client.received[n:] == sent)
        assert client.open


@nginxes
@pytest.mark.parametrize("upgrade", ["h2c", "websocket, h2c", "TLS/1.0", "websocketx", ""])
def test_no_other_protocol_is_passed_on(nginx: str, upgrade: str, replicas: Replicas) -> None:
    """
    An upgrade to h2c would be a tunnel past all rules for paths: neither that header nor one
    declared hop-by-hop by the client reaches the replica.
    """
    (one,) = replicas("one")
    headers = {
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": upgrade,
        "HTTP2-Settings": "AAMA",
    }
    with running(nginx, plan(one.endpoint)) as port, connect(port) as client:
        client.sendall(request_bytes("/", headers=headers))
        assert 200 == read_answer(client).status
    (request,) = one.seen
    assert request.headers["Upgrade"] is None
    assert request.headers["Connection"] is None


@nginxes
def test_long_response_headers_pass(nginx: str) -> None:
    """
    20 KB of headers pass, in one line or many: cookies and policies of some frameworks are long.
    """
    many = {f"X-{n}": "x" * 1000 for n in range(20)}
    for headers in ({"X-Long": "x" * (20 << 10)}, many):
        with (
            listening(answering(Reply(200, b"done", headers).encode())) as endpoint,
            running(nginx, plan(endpoint)) as port,
            connect(port) as client,
        ):
            client.sendall(request_bytes("/"))
            received = b""
            while data := client.recv(65536):
                received += data
        assert received.endswith(b"\r\n\r\ndone")
        for name, value in headers.items():
            assert f"{name}: {value}\r\n".encode() in received


@nginxes
@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_response_arrives_complete(nginx: str, *, chunked: bool) -> None:
    """
    A response of 8 MB arrives at a slow client.
    """
    body = random.Random(2).randbytes(8 * MIB)
    reply = Reply(200, body).encode()
    if chunked:
        parts = [body[n : n + 100_000] for n in range(0, len(body), 100_000)]
        head = Reply(headers={"Transfer-Encoding": "chunked"}).head()
        reply = head + b"".join(map(chunk, [*parts, b""]))
    with (
        listening(answering(reply)) as endpoint,
        running(nginx, plan(endpoint)) as port,
        socket.socket() as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.settimeout(30)
        client.connect(("127.0.0.1", port))
        client.sendall(request_bytes("/"))
        assert body == read_answer(client).body


@nginxes
def test_expect_continue_is_answered_by_nginx(nginx: str, replicas: Replicas) -> None:
    """
    Curl sends `Expect: 100-continue` with a large body: it does not have to wait for its timeout,
    and the replica does not receive the header.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one.endpoint)) as port, connect(port) as client:
        body = b"x" * 5000
        client.sendall(
            request_bytes("/", "POST", body, {"Expect": "100-continue"}).removesuffix(body)
        )
        assert client.recv(65536).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        client.sendall(body)
        assert body == read_answer(client).body
    assert one.seen[0].headers["Expect"] is None


@nginxes
def test_head_is_answered_without_a_body(nginx: str) -> None:
    """
    The response has the Content-Length that GET would have.
    """
    head = Reply(200, b"x" * 1234).head()
    with (
        listening(answering(head)) as endpoint,
        running(nginx, plan(endpoint)) as port,
        connect(port) as client,
    ):
        client.sendall(request_bytes("/", "HEAD"))
        received = b""
        while data := client.recv(65536):
            received += data
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 1234\r\n" in received
    assert received.endswith(b"\r\n\r\n")


@nginxes
@pytest.mark.parametrize("when", ["waiting", "streaming", "uploading"])
def test_a_client_disconnect_closes_the_replica_connection(nginx: str, when: str) -> None:
    """
    The replica does not compute for a disconnected client: its connection is closed too, whether or
    not the response had begun.
    """
    began, closed = threading.Event(), threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        if when == "streaming":
            connection.sendall(Reply(headers={"Transfer-Encoding": "chunked"}).head() + chunk(b"x"))
        began.set()
        with suppress(OSError):
            while connection.recv(65536):
                pass
        closed.set()

    request = CHUNKED_POST + chunk(b"x") if when == "uploading" else request_bytes("/")
    with listening(serve) as endpoint, running(nginx, plan(endpoint)) as port:
        client = HeldConnection(port, request)
        assert began.wait(5)
        if when == "streaming":
            eventually(lambda: b"\r\n\r\n" in client.received)
        assert not closed.is_set()
        closed_at = time.monotonic()
        client.close()
        assert closed.wait(5)
    assert time.monotonic() - closed_at < 3
