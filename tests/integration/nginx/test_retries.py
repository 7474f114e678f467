"""
Endpoints that die, hang or are poisoned: what is tried again, what never, and who notices.
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
#: Streamed as it comes, and buffered within a size: what may be tried again differs.
bodies = pytest.mark.parametrize("size", ["0", "1m"])


def serving(*endpoints: tuple[str, int]) -> Plan:
    return Plan(tuple(sorted(Endpoint(*each) for each in endpoints)), Mode.SERVE)


@nginxes
@bodies
def test_E07_an_endpoint_that_died_is_noticed_by_nobody(
    nginx: str, size: str, replicas: Replicas
) -> None:
    """
    Listed and refusing connections: every GET and every POST is answered by another, at once.
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
def test_E07_a_death_under_traffic_costs_no_get(nginx: str, replicas: Replicas) -> None:
    """
    One of three dies abruptly and comes back, several times, while clients ask: no GET fails.
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
    Give an endpoint that does not even refuse.
    """
    with ExitStack() as stack:
        listening = stack.enter_context(socket())
        for filler in fill_accept_queue(listening):
            stack.callback(filler.close)
        yield listening.getsockname()


@nginxes
@bodies
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_E08_an_endpoint_that_is_silent_costs_the_connect_timeout_and_no_more(
    nginx: str, size: str, method: str, replicas: Replicas
) -> None:
    """
    No packet comes back from it: whoever meets it waits CONNECT_TIMEOUT and is then answered by
    another; POSTs too, since nothing of them was sent.
    """
    (one,) = replicas("one")
    environ = {"CONNECT_TIMEOUT": "300ms", "MAX_BODY_SIZE": size, "LB_METHOD": "round_robin"}
    took = []
    with blackhole() as dead, running(nginx, serving(one.endpoint, dead), environ) as port:
        for n in range(20):
            began = time.monotonic()
            answer = get(port, method=method, body=b"%d" % n if method == "POST" else b"")
            took.append(time.monotonic() - began)
            assert 200 == answer.status
    assert max(took) < 0.3 + 1.0
    assert 5 <= len([each for each in took if each >= 0.29]), "the silent one was never tried"


@nginxes
def test_E08_two_seconds_is_the_default(nginx: str, replicas: Replicas) -> None:
    """
    And not the minute that nginx would wait.
    """
    (one,) = replicas("one")
    with blackhole() as dead, running(nginx, serving(one.endpoint, dead)) as port:
        took = []
        for _ in range(2):
            began = time.monotonic()
            assert "one" == get(port).text
            took.append(time.monotonic() - began)
    assert 1.9 < max(took) < 4


@nginxes
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_E09_a_poisonous_request_hurts_nobody_else(
    nginx: str, method: str, count: int, replicas: Replicas
) -> None:
    """
    A request that kills whoever handles it gets its 502 after two at most, a POST after one; all
    others are answered by all endpoints, at once: none is blacklisted.

    nginx takes an error on a kept connection for a stale one and counts no try: so a GET may also
    bite each endpoint whose last answer was less than a second ago.
    """
    served = replicas(*"abcd"[:count])
    with running(nginx, serving(*(each.endpoint for each in served))) as port:
        for most in (2, count, count):
            before = [each.requests[f"{method} /die"] for each in served]
            assert 502 == get(port, "/die", method=method, body=b"x" * (method == "POST")).status
            bites = [each.requests[f"{method} /die"] for each in served]
            bitten = [after - was for after, was in zip(bites, before, strict=True)]
            assert 1 == max(bitten)
            assert sum(bitten) == 1 if method == "POST" else 2 <= sum(bitten) <= most
            answers = [get(port) for _ in range(20)]
            assert {200} == {each.status for each in answers}
            assert {each.name for each in served} == {each.text for each in answers}


@nginxes
def test_E10_after_reloads_every_endpoint_gets_its_share(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    A reload makes nginx forget whom it served last.  Fifteen changes with three requests after
    each: nobody starves, with the default method.
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
@pytest.mark.parametrize("death", CrashPoint)
@pytest.mark.parametrize("kept", [False, True])
def test_E11_a_post_is_executed_once_at_most(
    nginx: str, size: str, death: CrashPoint, *, kept: bool
) -> None:
    """
    However and whenever the endpoint dies, on a fresh connection or on one that was kept: no POST
    is carried to a second one, though two live ones stand by.
    """
    with ExitStack() as stack:
        dying, *healthy = [stack.enter_context(CrashingBackend()) for _ in range(3)]
        all_three = (dying, *healthy)
        plan = serving(*(each.endpoint for each in all_three))
        port = stack.enter_context(
            running(nginx, plan, {"MAX_BODY_SIZE": size, "LB_METHOD": "round_robin"})
        )
        if kept:
            assert {200} == {get(port, method="POST", body=b"warm").status for _ in range(9)}
        dying.crash_point = death
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
    if death is CrashPoint.NEVER:
        assert [200] * 12 == [*statuses.values()]


@nginxes
def test_E11_nor_twice_when_replicas_die_under_traffic(nginx: str, replicas: Replicas) -> None:
    """
    Killed and back, over and over, while POSTs come in: each is executed once at most, and once
    where the client was told 200.
    """
    served = replicas("a", "b", "c")
    told: dict[bytes, int] = {}

    def post(port: int, client: int) -> None:
        for n in range(150):
            body = b"%d of %d" % (n, client)
            told[body] = 0
            with suppress(OSError, http.client.HTTPException):
                told[body] = get(port, method="POST", body=body).status

    with running(nginx, serving(*(each.endpoint for each in served))) as port:
        clients = [threading.Thread(target=post, args=(port, n)) for n in range(4)]
        for each in clients:
            each.start()
        deaths = 0
        while any(each.is_alive() for each in clients) and deaths < 500:
            dying = served[deaths % 3]
            seen = dying.total
            with suppress(AssertionError):
                eventually(lambda who=dying, least=seen + 3: who.total >= least, 0.2, 0.001)
            dying.stop()
            dying.start()
            deaths += 1
        for each in clients:
            each.join()
    executed: Counter[bytes] = Counter()
    for replica in served:
        executed.update(replica.executed)
    assert deaths > 5
    assert 600 == len(told)
    assert 1 == max(executed.values())
    assert all(1 == executed[body] for body, status in told.items() if status == 200)
    assert {*told.values()} <= {0, 200, 502}
    assert sum(status == 200 for status in told.values()) > 300
