"""
Clients that pause in the middle of a request or a response.
"""

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from supervisor.core.model import Endpoint, Mode, Plan
from tests.support.client import connect, read_answer, request_bytes
from tests.support.listening import listening
from tests.support.nginxes import BOTH
from tests.support.rendered import running
from tests.support.replica import Replica
from tests.support.wire import Reply, read_request

Replicas = Callable[..., list[Replica]]

nginxes = pytest.mark.parametrize("nginx", BOTH)
#: Streamed bodies, and buffered ones.
bodies = pytest.mark.parametrize("size", ["0", "64m"])

#: Longer than nginx's own limit of 60 s.
PAUSE = 65.0
LARGE = 32 << 20


@contextmanager
def large_answers() -> Iterator[Endpoint]:
    """
    Yield an endpoint that answers with more than all buffers between it and the client hold.
    """

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while read_request(stream):
                connection.sendall(Reply(200, b"x" * LARGE).encode())

    with listening(serve) as address:
        yield Endpoint(*address)


def wait_for_a_cut(client: socket.socket, within: float) -> float:
    """
    Return after how many seconds the peer closes the connection, `within` if it does not.
    """
    began = time.monotonic()
    poll = select.poll()
    poll.register(client, select.POLLRDHUP)
    poll.poll(within * 1000)
    return time.monotonic() - began


@nginxes
@bodies
def test_an_upload_may_pause_for_request_timeout(nginx: str, size: str, replicas: Replicas) -> None:
    """
    It ends when REQUEST_TIMEOUT is over, not before and not at nginx's own limit.
    """
    (one,) = replicas("one")
    plan = Plan((Endpoint(*one.endpoint),), Mode.SERVE)
    environ = {"REQUEST_TIMEOUT": "2s", "MAX_BODY_SIZE": size}
    with running(nginx, plan, environ) as port, connect(port) as client:
        client.sendall(request_bytes("/", "POST", b"x" * 1000)[:-500])
        assert 1.9 <= wait_for_a_cut(client, 10) < 6


@nginxes
def test_a_download_may_pause_for_request_timeout(nginx: str) -> None:
    """
    The same for a client that stops reading.
    """
    with (
        large_answers() as endpoint,
        running(nginx, Plan((endpoint,), Mode.SERVE), {"REQUEST_TIMEOUT": "2s"}) as port,
        connect(port) as client,
    ):
        client.sendall(request_bytes("/"))
        assert 1.9 <= wait_for_a_cut(client, 10) < 6


@pytest.mark.slow
@nginxes
@bodies
def test_a_pause_of_a_minute_cuts_neither_direction(
    nginx: str, size: str, replicas: Replicas
) -> None:
    """
    With default settings a client may pause longer than nginx's 60 s, up and down.
    """
    (one,) = replicas("one")
    with (
        large_answers() as endpoint,
        running(nginx, Plan((Endpoint(*one.endpoint),), Mode.SERVE), {"MAX_BODY_SIZE": size}) as up,
        running(nginx, Plan((endpoint,), Mode.SERVE)) as down,
        connect(up) as uploading,
        connect(down) as downloading,
    ):
        request = request_bytes("/", "POST", b"x" * 1000)
        uploading.sendall(request[:-500])
        downloading.sendall(request_bytes("/"))
        assert wait_for_a_cut(uploading, PAUSE) >= PAUSE
        assert wait_for_a_cut(downloading, 0.1) >= 0.1
        uploading.sendall(request[-500:])
        assert b"x" * 1000 == read_answer(uploading).body
        assert LARGE == len(read_answer(downloading).body)
