"""
Endpoints that fail, hang or crash: which requests are retried, and which never.
"""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from socket import socket

import pytest

from supervisor.core.model import Endpoint, Mode, Plan
from tests.support.client import get
from tests.support.crashing_backend import CrashingBackend, CrashPoint, fill_accept_queue
from tests.support.nginxes import BOTH
from tests.support.rendered import running
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.traffic import Traffic
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

nginxes = pytest.mark.parametrize("nginx", BOTH)
#: Streamed bodies, and buffered bodies up to a size: different requests can be retried.
bodies = pytest.mark.parametrize("size", ["0", "1m"])


def serving(*endpoints: tuple[str, int]) -> Plan:
    return Plan(tuple(sorted(Endpoint(*each) for each in endpoints)), Mode.SERVE)


@nginxes
@bodies
def test_E07_a_failed_endpoint_fails_no_request(nginx: str, size: str, replicas: Replicas) -> None:
    """
    When it refuses connections but is listed, another endpoint answers each GET and POST at once.
    """
    one, two = replicas("one", "two")
    with running(nginx, serving(one.endpoint, two.endpoint), {"MAX_BODY_SIZE": size}) as port:
        assert {"one", "two"} == {get(port).text for _ in range(20)}
        one.stop()
        began = time.monotonic()
        assert {"two"} == {get(port).text for _ in range(50)}
        posts = [get(port, method="POST", body=b"post %d" % n) for n in range(50)]
        assert {200} == {answer.status for answer in posts}
        assert 50 == sum(two.executed.values()) == len(two.executed)
        assert time.monotonic() - began < 5
        one.start()
        assert "one" in {get(port).text for _ in range(20)}, "not blacklisted"


@nginxes
def test_E07_a_failure_under_traffic_fails_no_get(nginx: str, replicas: Replicas) -> None:
    """
    One of three endpoints fails abruptly and returns, several times; no GET fails.
    """
    one, two, three = replicas("one", "two", "three")
    plan = serving(one.endpoint, two.endpoint, three.endpoint)
    with running(nginx, plan) as port, ExitStack() as stack:
        clients = [stack.enter_context(Traffic(port, every=0.002)) for _ in range(4)]
        for _ in range(5):
            one.stop()
            seen = two.total
            eventually(lambda least=seen + 20: two.total >= least)
            one.start()
            seen = one.total
            eventually(lambda least=seen + 20: one.total >= least)
        for client in clients:
            client.stop()
    assert [] == [failure for client in clients for failure in client.failures]
    assert sum(len(client.outcomes) for client in clients) > 200


@contextmanager
def blackhole() -> Iterator[tuple[str, int]]:
    """
    Yield an endpoint that does not respond to connection attempts.
    """
    with ExitStack() as stack:
        listening = stack.enter_context(socket())
        for filler in fill_accept_queue(listening):
            stack.callback(filler.close)
        yield listening.getsockname()


@nginxes
@bodies
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_E08_an_unresponsive_endpoint_costs_one_connect_timeout(
    nginx: str, size: str, method: str, replicas: Replicas
) -> None:
    """
    A request sent to it waits CONNECT_TIMEOUT and is then answered by another endpoint; a POST too,
    since none of its bytes were sent.
    """
    (one,) = replicas("one")
    environ = {"CONNECT_TIMEOUT": "300ms", "MAX_BODY_SIZE": size, "LB_METHOD": "round_robin"}
    durations = []
    with (
        blackhole() as unresponsive,
        running(nginx, serving(one.endpoint, unresponsive), environ) as port,
    ):
        for n in range(20):
            began = time.monotonic()
            answer = get(port, method=method, body=b"%d" % n if method == "POST" else b"")
            durations.append(time.monotonic() - began)
            assert 200 == answer.status
    assert max(durations) < 0.3 + 1.0
    assert 5 <= len([each for each in durations if each >= 0.29]), (
        "the unresponsive endpoint was never tried"
    )


@nginxes
def test_E08_the_default_connect_timeout_is_two_seconds(nginx: str, replicas: Replicas) -> None:
    """
    Nginx's own default is one minute.
    """
    (one,) = replicas("one")
    with blackhole() as unresponsive, running(nginx, serving(one.endpoint, unresponsive)) as port:
        durations = []
        for _ in range(2):
            began = time.monotonic()
            assert "one" == get(port).text
            durations.append(time.monotonic() - began)
    assert 1.9 < max(durations) < 4


@nginxes
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_E09_a_poisonous_request_affects_no_other(
    nginx: str, method: str, count: int, replicas: Replicas
) -> None:
    """
    A request that crashes its replica gets 502 after two replicas at most, a POST after one; all
    endpoints immediately answer other requests, and none is blacklisted.

    nginx takes an error on a kept connection for a stale connection and does not count it as a try:
    a GET may also crash each endpoint whose last response was less than a second ago.
    """
    served = replicas(*"abcd"[:count])
    with running(nginx, serving(*(each.endpoint for each in served))) as port:
        for limit in (2, count, count):
            before = [each.requests[f"{method} /die"] for each in served]
            assert 502 == get(port, "/die", method=method, body=b"x" * (method == "POST")).status
            after = [each.requests[f"{method} /die"] for each in served]
            added = [now - was for now, was in zip(after, before, strict=True)]
            assert 1 == max(added)
            assert sum(added) == 1 if method == "POST" else 2 <= sum(added) <= limit
            answers = [get(port) for _ in range(20)]
            assert {200} == {each.status for each in answers}
            assert {each.name for each in served} == {each.text for each in answers}


@nginxes
def test_E10_every_endpoint_gets_requests_after_reloads(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    A reload resets nginx's position in the list of servers.  Over 15 changes with three requests
    after each, every endpoint gets requests with the default method.
    """
    *served, visitor = replicas("a", "b", "c", "d", "visitor")
    subject = supervise(pid1=False, NGINX_BINARY=nginx, RELOAD_INTERVAL="50ms", START_WAIT="5s")
    subject.offer(*served)
    subject.wait_for_log("reload.applied", mode="serve", endpoints=4)
    answered: Counter[str] = Counter()
    first = len(subject.log_lines("reload.applied"))
    for change in range(1, 16):
        old = {*subject.nginx_workers()}
        subject.offer(*served, *([visitor] if change % 2 else []))
        eventually(lambda n=first + change: len(subject.log_lines("reload.applied")) == n)
        eventually(lambda gone=old: gone.isdisjoint(subject.nginx_workers()))
        answered.update(subject.get().text for _ in range(3))
    assert {"a", "b", "c", "d"} <= answered.keys(), answered
    assert min(answered[each] for each in "abcd") >= 3, answered


@nginxes
@bodies
@pytest.mark.parametrize("crash_point", CrashPoint)
@pytest.mark.parametrize("kept", [False, True])
def test_E11_a_post_is_executed_at_most_once(
    nginx: str, size: str, crash_point: CrashPoint, *, kept: bool
) -> None:
    """
    In whatever way and moment the endpoint fails, on a new or a kept connection: no POST is sent to
    a second endpoint, although two others are available.
    """
    with ExitStack() as stack:
        failing, *healthy = [stack.enter_context(CrashingBackend()) for _ in range(3)]
        all_three = (failing, *healthy)
        plan = serving(*(each.endpoint for each in all_three))
        port = stack.enter_context(
            running(nginx, plan, {"MAX_BODY_SIZE": size, "LB_METHOD": "round_robin"})
        )
        if kept:
            assert {200} == {get(port, method="POST", body=b"warm").status for _ in range(9)}
        failing.crash_point = crash_point
        statuses = {}
        for n in range(12):
            body = b"post %d " % n * 20
            with suppress(OSError, http.client.HTTPException):
                statuses[body] = get(port, method="POST", body=body).status
        executed: Counter[bytes] = Counter()
        for each in all_three:
            executed.update(each.executed)
        del executed[b"warm"]
    assert 1 == max(executed.values())
    assert all(1 == executed[body] for body, status in statuses.items() if status == 200)
    assert {200} <= {*statuses.values()} <= {200, 502}
    if crash_point is CrashPoint.NEVER:
        assert [200] * 12 == [*statuses.values()]


@nginxes
def test_E11_no_post_is_executed_twice_under_traffic(nginx: str, replicas: Replicas) -> None:
    """
    While replicas repeatedly fail and return each POST is executed at most once, and exactly once
    if the client received 200.
    """
    served = replicas("a", "b", "c")
    responses: dict[bytes, int] = {}

    def post(port: int, client: int) -> None:
        for n in range(150):
            body = b"%d of %d" % (n, client)
            responses[body] = 0
            with suppress(OSError, http.client.HTTPException):
                responses[body] = get(port, method="POST", body=body).status

    with running(nginx, serving(*(each.endpoint for each in served))) as port:
        clients = [threading.Thread(target=post, args=(port, n)) for n in range(4)]
        for each in clients:
            each.start()
        failures = 0
        while any(each.is_alive() for each in clients) and failures < 500:
            failing = served[failures % 3]
            seen = failing.total
            with suppress(AssertionError):
                eventually(
                    lambda replica=failing, least=seen + 3: replica.total >= least, 0.2, 0.001
                )
            failing.stop()
            failing.start()
            failures += 1
        for each in clients:
            each.join()
    executed: Counter[bytes] = Counter()
    for replica in served:
        executed.update(replica.executed)
    assert failures > 5
    assert 600 == len(responses)
    assert 1 == max(executed.values())
    assert all(1 == executed[body] for body, status in responses.items() if status == 200)
    assert {*responses.values()} <= {0, 200, 502}
    assert sum(status == 200 for status in responses.values()) > 300
