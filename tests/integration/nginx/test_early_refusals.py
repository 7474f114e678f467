"""
Real servers that refuse an upload and close before they have read it.

nginx takes a write that fails for the end of the request, although the response may have arrived.
"""

import contextlib
import selectors
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor.core.model import Endpoint, Mode, Plan
from tests.support.client import get
from tests.support.nginxes import BOTH
from tests.support.rendered import running
from tests.support.selection import slow
from tests.support.waiting import eventually, free_port

ROOT = Path(__file__).parents[3]
SIZE = 4_000_000
TRIES = 30

#: The default streams bodies; the others buffer them.
BUFFERED = [
    pytest.param({"MAX_BODY_SIZE": "9m"}, id="limited"),
    slow({"RETRY_POST": "true"}, id="repeated"),
]

nginxes = pytest.mark.parametrize("nginx", BOTH)


def gunicorn(port: int) -> list[str]:
    """
    Return the command line of a gunicorn with its default worker, sync.
    """
    options = ["-b", f"127.0.0.1:{port}", "--log-level", "warning", "--no-control-socket"]
    return ["gunicorn", *options, "tests.support.refusing_wsgi"]


def tornado(port: int) -> list[str]:
    """
    Return the command line of a Tornado.
    """
    return ["tests.support.refusing_tornado", str(port)]


servers = pytest.mark.parametrize("server", [gunicorn, slow(tornado)])


@contextmanager
def serving(command: Callable[[int], list[str]]) -> Iterator[Plan]:
    """
    Run a server, and yield a plan with it as the only endpoint.
    """
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", *command(port)], cwd=ROOT) as child:
        try:
            eventually(lambda: accepts(port), 20)
            yield Plan((Endpoint("127.0.0.1", port),), Mode.SERVE)
        finally:
            child.terminate()
            child.wait(10)


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError):
        return get(port).status == 401
    return False


def status_of_upload(port: int, path: str = "/") -> int:
    """
    Upload, reading while writing as browsers do, and return the status of the response.
    """
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {SIZE}\r\nConnection: close\r\n\r\n"
    rest, answer = memoryview(head.encode() + bytes(SIZE)), b""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while b"\r\n" not in answer:
                ready = selector.select(20)
                assert ready, "no answer within 20 s"
                try:
                    if ready[0][1] & selectors.EVENT_READ:
                        piece = connection.recv(4096)
                        assert piece, "closed without an answer"
                        answer += piece
                    elif rest:
                        rest = rest[connection.send(rest[:262144]) :]
                    else:
                        selector.modify(connection, selectors.EVENT_READ)
                except BrokenPipeError:
                    rest = rest[:0]
    return int(answer.split()[1])


def statuses(port: int, path: str = "/", tries: int = TRIES) -> Counter[int]:
    return Counter(status_of_upload(port, path) for _ in range(tries))


@nginxes
@servers
@pytest.mark.parametrize("environ", BUFFERED)
def test_the_response_to_a_refused_upload_arrives(
    nginx: str, server: Callable[[int], list[str]], environ: dict[str, str]
) -> None:
    """
    With bodies buffered, at most one in five is lost (one in a hundred on a quiet machine).
    """
    with serving(server) as plan, running(nginx, plan, environ) as port:
        seen = statuses(port)

    assert {401, 502} >= seen.keys()
    assert TRIES // 5 >= seen[502], seen


@nginxes
@servers
@pytest.mark.parametrize("environ", [pytest.param({}, id="streamed"), *BUFFERED])
def test_a_server_that_reads_before_it_refuses_loses_nothing(
    nginx: str, server: Callable[[int], list[str]], environ: dict[str, str]
) -> None:
    """
    The workaround of docs/traffic.md for streamed bodies; accepted bodies arrive whole.
    """
    with serving(server) as plan, running(nginx, plan, environ) as port:
        assert Counter({401: 10}) == statuses(port, "/drained", 10)
        assert str(SIZE) == get(port, "/read", method="POST", body=bytes(SIZE)).text


@nginxes
@servers
def test_a_size_limit_at_the_balancer_always_answers(
    nginx: str, server: Callable[[int], list[str]]
) -> None:
    """
    What MAX_BODY_SIZE refuses never reaches the replica: 413, every time.
    """
    with serving(server) as plan, running(nginx, plan, {"MAX_BODY_SIZE": "3m"}) as port:
        assert Counter({413: TRIES}) == statuses(port)


@nginxes
@servers
def test_a_check_at_the_balancer_always_answers(
    nginx: str, server: Callable[[int], list[str]]
) -> None:
    """
    The other workaround: nginx refuses, in a file of the operator, before a replica is contacted.
    """
    check = b'if ($http_authorization = "") {\n    return 401;\n}\n'
    with (
        serving(server) as plan,
        running(nginx, plan, operator={"server.d/token.conf": check}) as port,
    ):
        assert Counter({401: TRIES}) == statuses(port)
