import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fake_nomad import TOKEN, FakeNomad
from tests.support.live_files import all_workers, live_files
from tests.support.nomad_faults import status
from tests.support.replica import Replica
from tests.support.selection import slow
from tests.support.supervised import Supervised
from tests.support.traffic import Traffic
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]


@pytest.fixture
def task_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeNomad]:
    """
    Nomad as a task sees it: a socket in the secrets folder, and a token in a file next to it.
    """
    secrets = tmp_path_factory.mktemp("s")
    (secrets / "nomad_token").write_text(TOKEN)
    with FakeNomad(secrets / "api.sock", acl=True) as nomad:
        yield nomad


def socket_settings(nomad: FakeNomad) -> dict[str, str | None]:
    """
    Return the settings of a task that uses the socket in its secrets folder.
    """
    assert nomad.socket_path is not None
    return {"NOMAD_ADDR": None, "NOMAD_SECRETS_DIR": str(nomad.socket_path.parent)}


def retries(subject: Supervised) -> list[float]:
    """
    Return the pauses after failures, in order.
    """
    return [line["retry_in"] for line in subject.log_lines("discovery.failed")]


def test_A01_with_nomad_down_at_the_start_it_serves_503_and_retries(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    While connections to Nomad are refused nginx responds with 503 and Retry-After within a second,
    READY_PATH with 503; the query is retried without end after growing pauses with jitter, never
    longer than 2 s; when Nomad starts its endpoints are served.
    """
    (one,) = replicas("one")
    nomad.stop()
    subject = supervise(pid1=False, LOG_LEVEL="debug")
    first = subject.ready()
    assert subject.lasted < 5
    assert (503, "1") == (first.status, first.headers["Retry-After"])
    assert 503 == subject.get("/-/ready").status
    eventually(lambda: len(retries(subject)) >= 8, 20)
    pauses = retries(subject)
    for number, pause in enumerate(pauses):
        longest = min(2.0, 0.1 * 2**number)
        assert longest * 0.49 <= pause <= longest * 1.01
    factors = {round(pause / min(2.0, 0.1 * 2**n), 1) for n, pause in enumerate(pauses)}
    assert len(factors) > 1, "no jitter"
    assert 503 == subject.get().status
    assert subject.running

    subject.offer(one)
    nomad.start()
    assert "one" == subject.ready(5, status=200).text
    assert 200 == subject.get("/-/ready").status
    subject.wait_for_log("discovery.recovered")


#: How long Nomad is unreachable, in seconds; `AWAY=600` is when other tools give up.
AWAY = int(os.environ.get("AWAY", "30"))


@pytest.mark.slow
@pytest.mark.timeout(AWAY + 120)
@pytest.mark.parametrize("how,seconds", [("refused", AWAY), ("500", 8)])
def test_A02_with_nomad_down_for_30_seconds_the_last_endpoints_serve(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, how: str, seconds: int
) -> None:
    """
    Without a response from Nomad for half a minute (or AWAY seconds) every request is served by
    the last known endpoint, no file changes, nginx is not signalled; the length of the outage is
    logged at SIGUSR2 and at its end; changes in the meantime are then served.
    """
    one, two = replicas("one", "two")
    subject = supervise(pid1=False)
    subject.offer(one)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    before, workers = live_files(subject), all_workers(subject)
    with Traffic(subject.port, every=0.05, seconds=seconds + 60) as traffic:
        if how == "refused":
            nomad.stop()
        else:
            nomad.fault(status(500, "No cluster leader"))
        subject.wait_for_log("discovery.failed")
        eventually(lambda: traffic_lasted(traffic) > seconds, seconds + 20)
        subject.signal(signal.SIGUSR2)
        status_line = subject.wait_for_log("status")
        assert seconds - 2 < status_line["unanswered_for"] < seconds + 5
        assert before == live_files(subject)
        assert workers == subject.nginx_workers()
        queries = len(nomad.requests)
        nomad.heal()
        subject.offer(two)
        nomad.start()
        eventually(lambda: "two" == subject.get().text, 8)
    assert [] == traffic.failures
    assert queries < 40, "the back-off bounds the load on a failing Nomad"
    assert seconds - 1 < subject.wait_for_log("discovery.recovered")["after"] < seconds + 20
    assert 1 == len(subject.log_lines("discovery.failed")), "an outage is one warning"
    assert 200 == subject.get("/-/ready").status


def traffic_lasted(traffic: Traffic) -> float:
    """
    Return the seconds from the first request to the last one.
    """
    return traffic.outcomes[-1].at - traffic.outcomes[0].at


@pytest.mark.parametrize("over", ["tcp", slow("socket")])
def test_A03_a_service_that_flaps_is_reloaded_within_the_budget(
    supervise: Supervise, nomad: FakeNomad, task_api: FakeNomad, replicas: Replicas, over: str
) -> None:
    """
    Endpoints that change ten times a second, while every tenth query fails, cause no more reloads
    than the bucket of three, refilled at one a second, allows; no request fails, and the last
    state is served.
    """
    one, two, last = replicas("one", "two", "last")
    server = task_api if over == "socket" else nomad
    subject = supervise(
        nomad=server, pid1=False, **(socket_settings(server) if over == "socket" else {})
    )
    subject.offer(one)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    reloads_before, flips = len(subject.log_lines("reload.applied")), iter(range(10_000))

    def flip() -> bool:
        number = next(flips)
        server.set("web", [(one, two)[number % 2].endpoint])
        if number % 10 == 9:
            server.fault(status(500, "No cluster leader"), times=1)
        return traffic_lasted(traffic) > 5

    with Traffic(subject.port, every=0.02) as traffic:
        eventually(lambda: traffic.outcomes)
        eventually(flip, 20, every=0.1)
        duration = traffic_lasted(traffic)
        server.set("web", [last.endpoint])
        eventually(lambda: "last" == subject.get().text, 5)
        reloads = len(subject.log_lines("reload.applied")) - reloads_before
    assert next(flips) > 25, "it flapped"
    assert 3 <= reloads <= 3 + duration + 3
    assert [] == traffic.failures
    assert b"server 127.0.0.1:%d max_fails" % last.port in live_files(subject)["upstream.conf"]


@pytest.mark.parametrize("leave_file", [False, True], ids=["gone", "stale"])
def test_A15_a_replaced_socket_is_used_again(
    supervise: Supervise, task_api: FakeNomad, replicas: Replicas, *, leave_file: bool
) -> None:
    """
    When the agent restarts, the Task API's socket is removed, or stays without a listener, and is
    then created again: the last endpoints serve, and later changes are applied again.
    """
    one, two, three = replicas("one", "two", "three")
    subject = supervise(nomad=task_api, pid1=False, **socket_settings(task_api))
    subject.offer(one)
    assert "one" == subject.ready(status=200).text
    assert {"unix"} == {request.via for request in task_api.requests}
    path = task_api.socket_path
    assert path is not None

    task_api.stop(leave_file=leave_file)
    line = subject.wait_for_log("discovery.failed")
    assert 1 == line["endpoints_kept"]
    assert "one" == subject.get().text
    path.unlink(missing_ok=True)
    task_api.start()
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text, 6)
    subject.offer(three)
    eventually(lambda: "three" == subject.get().text, 3)
    assert TOKEN == task_api.requests[-1].headers["X-Nomad-Token"]


def test_A15_a_socket_replaced_under_an_open_query_is_followed(
    supervise: Supervise, task_api: FakeNomad, replicas: Replicas, tmp_path: Path
) -> None:
    """
    When another agent replaces the socket and the old agent is then killed during an open query,
    the next query goes to the new one.
    """
    one, two = replicas("one", "two")
    subject = supervise(nomad=task_api, pid1=False, **socket_settings(task_api))
    subject.offer(one)
    assert "one" == subject.ready(status=200).text
    path = task_api.socket_path
    assert path is not None
    eventually(lambda: task_api.blocked)
    path.rename(path.with_name("old.sock"))
    with FakeNomad(path, acl=True) as new_agent:
        new_agent.set("web", [two.endpoint])
        task_api.stop(leave_file=True)
        eventually(lambda: "two" == subject.get().text, 6)
        assert new_agent.requests
