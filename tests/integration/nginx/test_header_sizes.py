"""
Long headers: responses of 64 kB and requests of 32 kB pass, longer ones are refused clearly.
"""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from supervisor.core.model import Endpoint, Mode, Plan
from tests.support.client import connect, get, read_answer, request_bytes
from tests.support.listening import listening
from tests.support.nginxes import BOTH
from tests.support.rendered import running
from tests.support.replica import Replica
from tests.support.serving_subject import start_serving
from tests.support.supervised import Supervised
from tests.support.waiting import eventually
from tests.support.wire import read_request

Replicas = Callable[..., list[Replica]]
Supervise = Callable[..., Supervised]

nginxes = pytest.mark.parametrize("nginx", BOTH)

KB = 1024
TOO_LARGE = "header too large: 32 kB for each line, 128 kB in all\n"

#: Headers of one length in all, as one line or many.
SHAPES = {
    "one line": lambda size: [b"X-Long: " + b"x" * (size - 10)],
    "cookies": lambda size: [b"Set-Cookie: c%02d=" % n + b"x" * 1006 for n in range(size // KB)],
}


@contextmanager
def sending(head: bytes) -> Iterator[Endpoint]:
    """
    Yield an endpoint that answers every request with this head and the body `done`.
    """

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while read_request(stream):
                connection.sendall(head + b"done")

    with listening(serve) as address:
        yield Endpoint(*address)


def head_of(lines: list[bytes]) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: 4", *lines, b"", b""])


def exchanged(port: int, request: bytes) -> bytes:
    """
    Return all bytes of the response.
    """
    received = b""
    with connect(port) as client:
        client.sendall(request)
        while data := client.recv(65536):
            received += data
    return received


@nginxes
@pytest.mark.parametrize("shape", SHAPES)
def test_64_kb_of_response_headers_pass(nginx: str, shape: str) -> None:
    """
    In one line or in 64 cookies of 1 kB each: every byte arrives.
    """
    lines = SHAPES[shape](64 * KB)
    assert 64 * KB == sum(len(line) + 2 for line in lines)
    with (
        sending(head_of(lines)) as endpoint,
        running(nginx, Plan((endpoint,), Mode.SERVE)) as port,
    ):
        received = exchanged(port, request_bytes("/"))
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(b"\r\n\r\ndone")
    assert set(lines) <= set(received.split(b"\r\n"))


@nginxes
@pytest.mark.parametrize("state", ["serving", "starting"])
def test_32_kb_of_request_headers_pass(nginx: str, state: str, replicas: Replicas) -> None:
    """
    A cookie or a token of 9 or 32 kB reaches the replica, and so does a path; without replicas the
    response is the state.
    """
    (one,) = replicas("one")
    served = (Endpoint(*one.endpoint),) if state == "serving" else ()
    plan = Plan(served, Mode.SERVE if served else Mode.STARTING)
    long = "x" * (32 * KB)
    with running(nginx, plan) as port:
        for headers in ({"Cookie": long[: 9 * KB]}, {"Cookie": long}, {"Authorization": long}):
            assert (200 if served else 503) == get(port, headers=headers).status
            if served:
                ((name, value),) = headers.items()
                assert value == one.seen[-1].headers[name]
        many = {f"X-{n}": long[:KB] for n in range(60)}
        assert (200 if served else 503) == get(port, headers=many).status
        assert (200 if served else 503) == get(port, f"/{long}").status


@nginxes
@pytest.mark.parametrize("state", ["serving", "starting"])
def test_a_longer_request_header_is_431(nginx: str, state: str, replicas: Replicas) -> None:
    """
    The body says what is too large, and no replica gets the request.  The response arrives even if
    the client sends everything before it reads.
    """
    (one,) = replicas("one")
    served = (Endpoint(*one.endpoint),) if state == "serving" else ()
    plan = Plan(served, Mode.SERVE if served else Mode.STARTING)
    with running(nginx, plan) as port:
        for headers in (
            {"Cookie": "x" * (34 * KB)},
            {"Cookie": "x" * (500 * KB)},
            {f"X-{n}": "x" * KB for n in range(140)},
        ):
            answer = get(port, headers=headers)
            assert (431, TOO_LARGE) == (answer.status, answer.text)
            assert "text/plain" == answer.headers["Content-Type"]
    assert 0 == one.total


@nginxes
def test_the_operators_error_pages_stay(nginx: str) -> None:
    """
    An error page in conf.d applies to the public port as before, beside the 431.
    """
    operator = {
        "conf.d/a.conf": b"error_page 502 @broken;\n",
        "server.d/a.conf": b'location @broken { return 502 "ours"; }\n',
    }
    plan = Plan((Endpoint("127.0.0.1", 1),), Mode.SERVE)
    with running(nginx, plan, operator=operator) as port:
        assert "ours" == get(port).text
        assert 431 == get(port, headers={"Cookie": "x" * (34 * KB)}).status


@nginxes
def test_an_old_worker_answers_long_headers_too(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    A kept connection stays with its worker after a reload, and that worker forwards the request to
    the current ones: a header of 32 kB passes both, a longer one is 431.
    """
    (one,) = replicas("one")
    subject = start_serving(supervise, one, NGINX_BINARY=nginx)
    with connect(subject.port) as client:
        kept = {"Connection": "keep-alive"}
        client.sendall(request_bytes("/headers", headers=kept))
        if "close" == read_answer(client).headers["Connection"]:
            return  # this nginx keeps no connection
        subject.write_in("conf.d", "a.conf", "# changed\n")
        before = len(subject.log_lines("reload.applied"))
        os.kill(subject.pid, signal.SIGHUP)
        eventually(lambda: len(subject.log_lines("reload.applied")) > before)
        client.sendall(request_bytes("/headers", headers={**kept, "Cookie": "x" * (32 * KB)}))
        answer = read_answer(client)
    assert 200 == answer.status
    assert "x" * (32 * KB) in answer.text


@nginxes
def test_an_answer_beyond_it_is_502_with_a_line_that_says_why(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    The log names the cause and the endpoint.
    """
    (one,) = replicas("one")
    subject = start_serving(supervise, one, NGINX_BINARY=nginx)
    with sending(head_of(SHAPES["cookies"](80 * KB))) as endpoint:
        subject.offer((endpoint.host, endpoint.port))
        eventually(lambda: 502 == subject.get().status)
        line = "upstream sent too big header while reading response header from upstream"
        eventually(
            lambda: any(
                line in str(each["text"]) and str(endpoint) in str(each["text"])
                for each in subject.log_lines("nginx.output")
            )
        )
