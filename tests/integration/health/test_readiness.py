"""
Only ready endpoints get traffic, whatever the registry lists.
"""

import http.client
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from email.utils import parsedate_to_datetime

import pytest

from tests.support.client import connect
from tests.support.fake_nomad import FakeNomad
from tests.support.held_connection import HeldConnection
from tests.support.listening import Listener
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.traffic import Traffic
from tests.support.waiting import eventually
from tests.support.wire import Reply, read_request

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

#: Probes that come soon, so that a test need not wait for the default of five seconds.
BRISK = {"HEALTH_INTERVAL": "200ms", "HEALTH_TIMEOUT": "300ms"}


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """
    Let every connection be served that way.
    """
    listener = Listener(("127.0.0.1", 0), serve)
    listener.open()
    try:
        assert isinstance(listener.address, tuple)
        yield listener.address
    finally:
        listener.close()


def start(
    supervise: Supervise, *endpoints: Replica | tuple[str, int], **options: str
) -> Supervised:
    """
    Start it with these endpoints registered.
    """
    subject = supervise(pid1=False, LOG_LEVEL="debug", **options)
    subject.offer(*endpoints)
    return subject


def state(subject: Supervised) -> str:
    """
    Return what a client is told now, or the status.
    """
    answer = subject.get()
    return answer.text if answer.status == 503 else str(answer.status)


def test_E15_who_accepts_and_closes_does_not_serve(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    Docker's port proxy accepts before anybody listens behind it, and closes at once: such an
    endpoint is not ready, alone or beside one that is.
    """

    def hang_up(_: socket.socket) -> None:
        """Return, which closes."""

    (good,) = replicas("good")
    with listening(hang_up) as proxy:
        subject = start(supervise, proxy)
        assert '"starting"' in subject.ready(status=503).text
        subject.offer(proxy, good)
        subject.wait_for_log("reload.applied", endpoints=1)
        statuses = [subject.get(method=method).status for method in ("GET", "POST") * 10]

    assert {200} == set(statuses)


def test_an_endpoint_serves_soon_after_it_listens(supervise: Supervise, replicas: Replicas) -> None:
    """
    A model has been loading; a quarter of a second after the port opens it is to serve, a reload
    included.  The bound is generous, the benchmarks measure.
    """
    (late,) = replicas("late")
    late.stop()
    subject = start(supervise, late)
    assert '"starting"' in subject.ready(status=503).text
    late.start()
    began = time.monotonic()
    assert "late" == subject.ready(status=200).text

    assert time.monotonic() - began < 2.0


def test_who_is_lost_leaves_though_it_is_still_listed(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    A crashed task stays listed while it waits to restart; no client notices, and when it is back
    it serves again.
    """
    one, two = replicas("one", "two")
    subject = start(supervise, one, two, **BRISK)
    subject.wait_for_log("reload.applied", endpoints=2)
    with Traffic(subject.port) as gets, Traffic(subject.port, method="POST", body=b"x") as posts:
        two.stop()
        subject.wait_for_log("reload.applied", endpoints=1)
        two.start()
        eventually(lambda: len(subject.log_lines("reload.applied", endpoints=2)) == 2)

    assert [] == gets.failures
    assert len(posts.failures) <= 1  # one may have been on its way when it died


def test_a_refused_post_is_sent_to_another_and_never_twice(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    Between the end of a replica and its leaving, whoever is sent to it goes to another one.
    """
    one, two = replicas("one", "two")
    subject = start(supervise, one, two, HEALTH_INTERVAL="1h")
    subject.wait_for_log("reload.applied", endpoints=2)
    two.stop(abrupt=False)
    for number in range(40):
        answer = subject.get(method="POST", body=b"%d" % number)
        assert (200, b"%d" % number) == (answer.status, answer.body)

    assert {1} == set(one.executed.values())
    assert 40 == len(one.executed)


def test_a_post_that_was_sent_is_never_sent_again(supervise: Supervise, replicas: Replicas) -> None:
    """
    A replica that dies over a request does not take a second one with it.
    """
    one, two = replicas("one", "two")
    subject = start(supervise, one, two, HEALTH_INTERVAL="1h")
    subject.wait_for_log("reload.applied", endpoints=2)
    answer = subject.get("/die", method="POST", body=b"poison")

    assert 502 == answer.status
    assert 1 == one.requests["POST /die"] + two.requests["POST /die"]


def test_http_probes_want_the_right_answer(supervise: Supervise) -> None:
    """
    HEALTH_PATH is asked with GET; listening is not enough, the status must be one of those asked
    for.
    """
    loaded: list[bool] = []
    asked: list[str] = []

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while request := read_request(stream):
                asked.append(f"{request.method} {request.path}")
                ready = request.path != "/v2/models/" or loaded
                connection.sendall(Reply(200 if ready else 503, b"x").encode())

    with listening(serve) as endpoint:
        subject = start(supervise, endpoint, HEALTH_PATH="/v2/models/")
        assert '"starting"' in subject.ready(status=503).text
        loaded.append(True)
        subject.ready(status=200)

    assert "GET /v2/models/" == asked[0]


def test_a_busy_replica_is_not_a_dead_one(supervise: Supervise) -> None:
    """
    Timeouts alone never take out more than half of those that were ready once: of two that are
    both busy one serves on, and one alone always does.
    """
    busy: list[bool] = []

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while request := read_request(stream):
                if request.path == "/health" and busy:
                    continue  # no answer, and no hanging up
                connection.sendall(Reply(200, b"x").encode())

    with ExitStack() as stack:
        both = [stack.enter_context(listening(serve)) for _ in range(2)]
        subject = start(supervise, *both, HEALTH_PATH="/health", **BRISK)
        subject.wait_for_log("reload.applied", endpoints=2)
        busy.append(True)
        subject.wait_for_log("reload.applied", endpoints=1)
        eventually(lambda: subject.log_lines("health.changed", slow=2))
        assert 200 == subject.get().status
        assert not subject.log_lines("reload.applied", endpoints=0, mode="unhealthy")
        busy.clear()
        eventually(lambda: len(subject.log_lines("reload.applied", endpoints=2)) == 2)


@pytest.mark.parametrize("fail_open", ["true", "false"])
def test_when_all_fail(supervise: Supervise, fail_open: str) -> None:
    """
    A probe that is wrong is no reason to serve nobody: those that were ready once serve on, and it
    is said; HEALTH_FAIL_OPEN=false is for who wants a clear `unhealthy`.
    """
    well = [True]

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while request := read_request(stream):
                status = 500 if request.path == "/health" and not well else 200
                connection.sendall(Reply(status, b"x").encode())

    with listening(serve) as endpoint:
        subject = start(
            supervise, endpoint, HEALTH_PATH="/health", HEALTH_FAIL_OPEN=fail_open, **BRISK
        )
        subject.ready(status=200)
        well.clear()
        if fail_open == "true":
            subject.wait_for_log("endpoints.warning")
            assert 200 == subject.get().status
        else:
            assert '"unhealthy"' in subject.ready(status=503).text
            well.append(True)
            subject.ready(status=200)


def test_a_replaced_set_serves_until_its_successor_is_ready(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    A redeployed job lists only new instances, which load for a while; the old ones still answer.
    """
    old, new = replicas("old", "new")
    new.stop()
    subject = start(supervise, old)
    subject.wait_for_log("reload.applied", endpoints=1)
    with Traffic(subject.port) as traffic:
        subject.offer(new)
        subject.wait_for_log("endpoints.warning")
        assert "old" == subject.get().text
        new.start()
        eventually(lambda: subject.get().text == "new")

    assert [] == traffic.failures


def test_a_replaced_set_leaves_when_it_stops_answering(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    Then nobody is left, and a client is told that the service starts.
    """
    old, new = replicas("old", "new")
    new.stop()
    subject = start(supervise, old)
    subject.wait_for_log("reload.applied", endpoints=1)
    subject.offer(new)
    subject.wait_for_log("endpoints.warning")
    old.stop()

    assert '"starting"' in subject.ready(5, status=503).text


def test_D17_a_lame_duck_is_not_ready_but_serves(supervise: Supervise, replicas: Replicas) -> None:
    """
    LAME_DUCK=2s: so long before the listener closes READY_PATH and readiness answer 503, and every
    request is still answered.
    """
    (one,) = replicas("one")
    subject = start(supervise, one, TTL="6s", LAME_DUCK="2s")
    assert "one" == subject.ready(status=200).text
    assert 200 == subject.get("/-/ready").status
    duck = subject.wait_for_log("lame_duck")
    with Traffic(subject.port, count=100) as traffic:
        answer = eventually(lambda: (found := subject.get("/-/ready")).status == 503 and found)
        assert "draining" in answer.text
        ready = subject.find("supervisor.sock")
        with connect(ready) as line:
            line.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            response = http.client.HTTPResponse(line)
            response.begin()
            assert 503 == response.status
    assert 1.5 < duck["remaining"] <= 2.0
    assert [] == traffic.failures
    assert 0 == subject.wait()


def test_every_answer_tells_the_deadline(supervise: Supervise, replicas: Replicas) -> None:
    """
    `Sunset` on what is proxied and on what is not, the same instant as the log says.
    """
    (one,) = replicas("one")
    late = start(supervise, one, TTL="1h")
    answer = late.ready(status=200)
    said = late.log_lines("deadline.set")[0]["deadline"]
    assert str(said).startswith(
        parsedate_to_datetime(answer.headers["Sunset"]).strftime("%Y-%m-%dT%H:%M:%S")
    )

    quiet = start(supervise, one, TTL="1h", SUNSET_HEADER="false")
    assert "Sunset" not in quiet.ready(status=200).headers


def test_a_restart_while_nomad_is_away_serves_what_was_known(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    The set is remembered in RUNTIME_DIR; it is probed before it serves, and its age is said.
    """
    one, two = replicas("one", "two")
    gone = Replica("gone").start()
    subject = start(supervise, one, two, gone)
    subject.wait_for_log("reload.applied", endpoints=3)
    eventually(lambda: subject.find("endpoints.json"))
    subject.run.kill()
    nomad.stop()
    gone.stop()
    subject.start()

    assert 200 == subject.ready().status
    subject.wait_for_log("reload.applied", endpoints=2)
    said = subject.wait_for_log("discovery.restored")
    assert 3 == said["endpoints"]
    assert 0 <= said["answer_age"] < 60
    failed = subject.wait_for_log("discovery.failed")
    assert failed["answer_age"] >= said["answer_age"]

    nomad.start()
    subject.wait_for_log("discovery.recovered")
    assert 0o600 == subject.find("endpoints.json").stat().st_mode & 0o777


def test_an_open_request_outlives_its_replicas_leaving(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    An allocation that is being stopped leaves the registry first: what it is doing it may finish.
    """
    one, two = replicas("one", "two")
    subject = start(supervise, one)
    subject.ready(status=200)
    with HeldConnection.slow(subject.port, 1.5) as hold:
        eventually(lambda: one.requests["GET /slow"])
        subject.offer(two)
        eventually(lambda: subject.get().text == "two")
        assert hold.open
        hold.wait()
        assert 200 == hold.status
