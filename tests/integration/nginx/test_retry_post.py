"""
RETRY_POST: requests that a dying replica loses, and how often they run.
"""

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path
from socket import socket

import pytest

from supervisor.core.model import Endpoint, Mode, Plan
from tests.support.client import get
from tests.support.crashing_backend import fill_accept_queue
from tests.support.listening import listening
from tests.support.nginxes import BOTH
from tests.support.rendered import running
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually, free_port
from tests.support.wire import read_request

Replicas = Callable[..., list[Replica]]
Supervise = Callable[..., Supervised]

nginxes = pytest.mark.parametrize("nginx", BOTH)
ON = {"RETRY_POST": "true"}

ROOT = Path(__file__).parents[3]
PROGRAM = """
import signal, sys
from tests.support.replica import Replica
Replica("one", port=int(sys.argv[1])).start()
signal.pause()
"""


def serving(*replicas: tuple[str, int]) -> Plan:
    return Plan(tuple(sorted(Endpoint(*each) for each in replicas)), Mode.SERVE)


def process(port: int) -> subprocess.Popen[bytes]:
    """
    Start a replica as a process, and return it once it answers.
    """
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, str(port)], cwd=ROOT)
    eventually(lambda: answers(port), 20)
    return child


def answers(port: int) -> bool:
    try:
        return get(port).status == 200
    except OSError:
        return False


def lost_posts(subject: Supervised, start: Callable[[], subprocess.Popen[bytes]]) -> list[int]:
    """
    Kill a replica five times under load, and return the statuses of all POSTs, 0 for none.
    """
    outcomes: list[int] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            try:
                answer = subject.get("/slow?seconds=0.05", method="POST", body=b"x" * 40_000)
                is_whole = answer.status != 200 or len(answer.body) == 40_000
                outcomes.append(answer.status if is_whole else 0)
            except (OSError, HTTPException):
                outcomes.append(0)

    clients = [threading.Thread(target=load) for _ in range(8)]
    child = start()
    try:
        for client in clients:
            client.start()
        for _ in range(5):
            seen = len(outcomes)
            eventually(lambda least=seen + 50: len(outcomes) >= least, 20)
            child.send_signal(signal.SIGKILL)
            child.wait()
            child = start()
    finally:
        stop.set()
        for client in clients:
            client.join()
        child.kill()
        child.wait()
    return outcomes


@nginxes
@pytest.mark.parametrize("environ", [ON, {}])
def test_a_killed_replica_costs_no_post(
    supervise: Supervise, replicas: Replicas, nginx: str, environ: dict[str, str]
) -> None:
    """
    Five SIGKILLs to one of two replicas under load: with RETRY_POST no POST fails, and without it
    those fail that were on their way.
    """
    (stable,) = replicas("two")
    port = free_port()
    subject = supervise(
        pid1=False, NGINX_BINARY=nginx, HEALTH_CHECK="off", LB_METHOD="round_robin", **environ
    )
    subject.offer(("127.0.0.1", port), stable)
    subject.wait_for_log("reload.applied", mode="serve", endpoints=2)
    outcomes = lost_posts(subject, lambda: process(port))
    lost = Counter(status for status in outcomes if status != 200)
    assert bool(lost) == (not environ), f"{lost} of {len(outcomes)}"
    assert lost.keys() <= {502}


@nginxes
@pytest.mark.parametrize("environ", [{}, ON])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_post_runs_twice_at_most(
    nginx: str, method: str, environ: dict[str, str], replicas: Replicas
) -> None:
    """
    A request that crashes its replica reaches two of four with RETRY_POST and one without, also
    right after all of them answered; the others serve.
    """
    served = replicas(*"abcd")
    with running(nginx, serving(*(each.endpoint for each in served)), environ) as port:
        for _ in range(3):
            assert {*"abcd"} == {get(port).text for _ in range(20)}
            before = sum(each.requests[f"{method} /die"] for each in served)
            assert 502 == get(port, "/die", method=method, body=b"x").status
            runs = sum(each.requests[f"{method} /die"] for each in served) - before
            assert (2 if environ else 1) == runs


@contextmanager
def silent(seen: list[str]) -> Iterator[tuple[str, int]]:
    """
    Yield an endpoint that reads requests and does not answer.
    """

    def serve(connection: socket) -> None:
        with connection.makefile("rb") as stream:
            while request := read_request(stream):
                seen.append(request.method)

    with listening(serve) as address:
        yield address


@nginxes
def test_a_silent_replica_gets_a_post_once(nginx: str) -> None:
    """
    After REQUEST_TIMEOUT it may still compute: 504, and no other replica gets the request.
    """
    seen: list[str] = []
    environ = {**ON, "REQUEST_TIMEOUT": "1s"}
    with (
        silent(seen) as one,
        silent(seen) as two,
        running(nginx, serving(one, two), environ) as port,
    ):
        assert 504 == get(port, method="POST", body=b"x").status
        assert ["POST"] == seen


@nginxes
def test_an_unresponsive_endpoint_still_costs_one_connect_timeout(
    nginx: str, replicas: Replicas
) -> None:
    """
    With RETRY_POST, too, another endpoint is tried after CONNECT_TIMEOUT.
    """
    (one,) = replicas("one")
    environ = {**ON, "CONNECT_TIMEOUT": "300ms", "LB_METHOD": "round_robin"}
    with ExitStack() as stack:
        listening = stack.enter_context(socket())
        for filler in fill_accept_queue(listening):
            stack.callback(filler.close)
        port = stack.enter_context(
            running(nginx, serving(one.endpoint, listening.getsockname()), environ)
        )
        began = time.monotonic()
        statuses = Counter(get(port, method="POST", body=b"%d" % n).status for n in range(4))
        assert Counter({200: 4}) == statuses
        assert 0.29 <= time.monotonic() - began < 5
    assert 4 == sum(one.executed.values())
