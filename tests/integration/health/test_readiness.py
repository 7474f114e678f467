"""
Only ready endpoints get traffic, whatever the registry lists.
"""

import http.client
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from email.utils import parsedate_to_datetime

import pytest

from tests.support.client import connect
from tests.support.fake_nomad import FakeNomad
from tests.support.held_connection import HeldConnection
from tests.support.listening import listening
from tests.support.live_files import all_workers
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.traffic import Traffic
from tests.support.waiting import eventually
from tests.support.wire import Reply, read_request

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

#: Short intervals, so that a test need not wait for the default of five seconds.
FAST = {"HEALTH_INTERVAL": "200ms", "HEALTH_TIMEOUT": "300ms"}


def start(
    supervise: Supervise, *endpoints: Replica | tuple[str, int], **options: str
) -> Supervised:
    """
    Start the program with these endpoints registered.
    """
    subject = supervise(pid1=False, LOG_LEVEL="debug", **options)
    subject.offer(*endpoints)
    return subject


def test_E15_an_endpoint_that_accepts_and_closes_gets_no_traffic(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    Docker's port proxy accepts before the container listens, and closes at once: such an endpoint
    is not ready, alone or next to one that is.
    """

    def hang_up(_: socket.socket) -> None:
        """Return, which closes the connection."""

    (good,) = replicas("good")
    with listening(hang_up) as proxy:
        subject = start(supervise, proxy)
        assert '"starting"' in subject.ready(status=503).text
        subject.offer(proxy, good)
        subject.wait_for_log("reload.applied", endpoints=1)
        all_workers(subject)  # the old ones accept for another 100 ms
        statuses = [subject.get(method=method).status for method in ("GET", "POST") * 10]

    assert {200} == set(statuses)


def test_an_endpoint_serves_soon_after_it_listens(supervise: Supervise, replicas: Replicas) -> None:
    """
    An endpoint gets traffic a quarter of a second after its port opens, reload included.  The
    limit here is generous; the benchmarks measure the delay.
    """
    (late,) = replicas("late")
    late.stop()
    subject = start(supervise, late)
    assert '"starting"' in subject.ready(status=503).text
    late.start()
    started_at = time.monotonic()
    assert "late" == subject.ready(status=200).text

    assert time.monotonic() - started_at < 2.0


def test_a_crashed_endpoint_is_removed_although_it_is_listed(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    A crashed task stays listed until it restarts; no request fails, and after the restart it serves
    again.
    """
    one, two = replicas("one", "two")
    subject = start(supervise, one, two, **FAST)
    subject.wait_for_log("reload.applied", endpoints=2)
    with Traffic(subject.port) as gets, Traffic(subject.port, method="POST", body=b"x") as posts:
        two.stop()
        subject.wait_for_log("reload.applied", endpoints=1)
        two.start()
        eventually(lambda: len(subject.log_lines("reload.applied", endpoints=2)) == 2)

    assert [] == gets.failures
    assert len(posts.failures) <= 1  # one may have been in flight at the crash


def test_a_refused_post_is_sent_to_another_and_never_twice(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    Until a stopped replica is removed, its requests are sent to another one.
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


def test_a_post_that_was_sent_is_never_repeated(supervise: Supervise, replicas: Replicas) -> None:
    """
    A request that crashes a replica is not sent to a second one.
    """
    one, two = replicas("one", "two")
    subject = start(supervise, one, two, HEALTH_INTERVAL="1h")
    subject.wait_for_log("reload.applied", endpoints=2)
    all_workers(subject)
    answer = subject.get("/die", method="POST", body=b"poison")

    assert 502 == answer.status
    assert 1 == one.requests["POST /die"] + two.requests["POST /die"]


def test_http_probes_require_the_configured_status(supervise: Supervise) -> None:
    """
    HEALTH_PATH is requested with GET; an open port is not enough, the status must be an accepted
    one.
    """
    loaded: list[bool] = []
    requests: list[str] = []

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while request := read_request(stream):
                requests.append(f"{request.method} {request.path}")
                ready = request.path != "/v2/models/" or loaded
                connection.sendall(Reply(200 if ready else 503, b"x").encode())

    with listening(serve) as endpoint:
        subject = start(supervise, endpoint, HEALTH_PATH="/v2/models/")
        assert '"starting"' in subject.ready(status=503).text
        loaded.append(True)
        subject.ready(status=200)

    assert "GET /v2/models/" == requests[0]


def test_a_busy_replica_is_not_removed(supervise: Supervise) -> None:
    """
    Timeouts alone never remove more than half of the endpoints that were ready once: of two busy
    ones one stays in service, and a single one always does.
    """
    busy: list[bool] = []

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while request := read_request(stream):
                if request.path == "/health" and busy:
                    continue  # no response, and the connection stays open
                connection.sendall(Reply(200, b"x").encode())

    with ExitStack() as stack:
        both = [stack.enter_context(listening(serve)) for _ in range(2)]
        subject = start(supervise, *both, HEALTH_PATH="/health", **FAST)
        subject.wait_for_log("reload.applied", endpoints=2)
        busy.append(True)
        subject.wait_for_log("reload.applied", endpoints=1)
        eventually(lambda: subject.log_lines("health.changed", slow=2))
        assert 200 == subject.get().status
        assert not subject.log_lines("reload.applied", endpoints=0, mode="unhealthy")
        busy.clear()
        eventually(lambda: len(subject.log_lines("reload.applied", endpoints=2)) == 2)


@pytest.mark.parametrize("fail_open", ["true", "false"])
def test_when_all_endpoints_fail(supervise: Supervise, fail_open: str) -> None:
    """
    By default endpoints that were ready once stay in service, with a warning; with
    HEALTH_FAIL_OPEN=false the response is 503 `unhealthy`.
    """
    healthy = [True]

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while request := read_request(stream):
                status = 500 if request.path == "/health" and not healthy else 200
                connection.sendall(Reply(status, b"x").encode())

    with listening(serve) as endpoint:
        subject = start(
            supervise, endpoint, HEALTH_PATH="/health", HEALTH_FAIL_OPEN=fail_open, **FAST
        )
        subject.ready(status=200)
        healthy.clear()
        if fail_open == "true":
            subject.wait_for_log("endpoints.warning")
            assert 200 == subject.get().status
        else:
            assert '"unhealthy"' in subject.ready(status=503).text
            healthy.append(True)
            subject.ready(status=200)


def test_a_replaced_set_serves_until_its_successor_is_ready(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    A redeployed job lists only new instances, which are starting; the old ones still serve.
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


def test_a_replaced_set_is_removed_when_it_stops_responding(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    Then no endpoint is left, and the response is 503 `starting`.
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
    With LAME_DUCK=2s READY_PATH and /readyz return 503 two seconds before the listener closes, and
    every request is still served.
    """
    (one,) = replicas("one")
    subject = start(supervise, one, TTL="6s", LAME_DUCK="2s")
    assert "one" == subject.ready(status=200).text
    assert 200 == subject.get("/-/ready").status
    line = subject.wait_for_log("lame_duck")
    with Traffic(subject.port, count=100) as traffic:
        answer = eventually(lambda: (found := subject.get("/-/ready")).status == 503 and found)
        assert "draining" in answer.text
        socket_path = subject.find("supervisor.sock")
        with connect(socket_path) as connection:
            connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert 503 == response.status
    assert 1.5 < line["remaining"] <= 2.0
    assert [] == traffic.failures
    assert 0 == subject.wait()


def test_every_response_has_the_deadline(supervise: Supervise, replicas: Replicas) -> None:
    """
    The `Sunset` header contains the instant in the log; SUNSET_HEADER=false removes it.
    """
    (one,) = replicas("one")
    subject = start(supervise, one, TTL="1h")
    answer = subject.ready(status=200)
    deadline = subject.wait_for_log("deadline.set")["deadline"]
    assert str(deadline).startswith(
        parsedate_to_datetime(answer.headers["Sunset"]).strftime("%Y-%m-%dT%H:%M:%S")
    )

    without_header = start(supervise, one, TTL="1h", SUNSET_HEADER="false")
    assert "Sunset" not in without_header.ready(status=200).headers


def test_a_restart_while_nomad_is_unreachable_serves_the_cache(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    The endpoints are cached in RUNTIME_DIR; they are probed before use, and their age is logged.
    """
    one, two = replicas("one", "two")
    gone = Replica("gone").start()
    # On a busy machine the probes may take longer than the default of START_WAIT.
    subject = start(supervise, one, two, gone, START_WAIT="5s")
    subject.wait_for_log("reload.applied", endpoints=3)
    eventually(lambda: subject.find("endpoints.json"))
    subject.run.kill()
    nomad.stop()
    gone.stop()
    subject.start()

    assert 200 == subject.ready().status
    subject.wait_for_log("reload.applied", endpoints=2)
    restored = subject.wait_for_log("discovery.restored")
    assert 3 == restored["endpoints"]
    assert 0 <= restored["answer_age"] < 60
    failed = subject.wait_for_log("discovery.failed")
    assert failed["answer_age"] >= restored["answer_age"]

    nomad.start()
    subject.wait_for_log("discovery.recovered")
    assert 0o600 == subject.find("endpoints.json").stat().st_mode & 0o777


def test_a_restart_does_not_serve_a_dead_replica_alone(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    After a restart one cached replica is dead, and the other one takes a second to answer its
    first probe: meanwhile both are served, so that requests reach the live one.
    """
    (slow,) = replicas("slow")
    dead = Replica("dead").start()
    subject = start(supervise, slow, dead, HEALTH_PATH="/slow?seconds=1", HEALTH_TIMEOUT="5s")
    subject.wait_for_log("reload.applied", endpoints=2)
    eventually(lambda: subject.find("endpoints.json"))
    subject.run.kill()
    dead.stop()
    subject.start()

    subject.wait_for_log("reload.applied", mode="serve")
    answer = subject.get()
    assert (200, "slow") == (answer.status, answer.text)
    assert [] == subject.log_lines("endpoints.warning")


def test_an_open_request_continues_after_its_replica_is_removed(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    A stopping allocation leaves the registry first: its open requests are completed.
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
