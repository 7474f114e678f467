import json
import socket
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.support.fake_nomad import FakeNomad
from tests.support.live_files import all_workers, live_files
from tests.support.nginxes import BOTH
from tests.support.nomad_faults import body
from tests.support.nomad_registry import row
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]


def why_no_ipv6() -> str:
    """
    Return why nobody can listen on [::1], or nothing where one can.
    """
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        return f"no IPv6 here: {error}"
    return ""


def serving(supervise: Supervise, *endpoints: Replica, **options: Any) -> Supervised:
    """
    Return the program, serving these, with the query for changes open.
    """
    subject = supervise(pid1=False, **{"START_WAIT": "5s", **options})
    subject.offer(*endpoints)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    eventually(lambda: subject.nomad.blocked)
    return subject


def servers(subject: Supervised) -> list[str]:
    """
    Return what the live files hold as endpoints, in their order.
    """
    lines = live_files(subject)["upstream.conf"].decode().splitlines()
    found = [line.split() for line in lines]
    return [words[1] for words in found if words[:1] == ["server"] and words[1] != "{"]


def test_E01_a_service_without_instances_answers_503(
    supervise: Supervise, nomad: FakeNomad
) -> None:
    """
    With no instance at the start the port answers within a second of it: 503 with Retry-After and a
    JSON body; once a second answer agrees the body says that there are no endpoints.
    """
    subject = supervise(pid1=False)
    first = subject.ready()
    began = subject.run.output.times[0]
    answered = subject.wait_for_log("nginx.ready")
    assert answered["since_start"] < 1
    assert subject.run.output.times[subject.logs.index(answered)] - began < 2
    assert (503, "1") == (first.status, first.headers["Retry-After"])
    assert "starting" == json.loads(first.text)["state"]
    assert 503 == subject.get("/-/ready").status

    subject.wait_for_log("reload.applied", 5, mode="no_endpoints")
    later = eventually(lambda: a if "no_endpoints" in (a := subject.get()).text else None)
    assert 503 == later.status
    assert 0 < int(later.headers["Retry-After"]) <= 5
    assert "application/json" == later.headers["Content-Type"]
    confirmed = [later.at - earlier.at for earlier, later in pairwise(nomad.requests)]
    assert confirmed[0] >= 1


@pytest.mark.parametrize("over", ["tcp", "socket"])
def test_E02_a_service_that_became_empty_answers_503(
    supervise: Supervise,
    nomad: FakeNomad,
    replicas: Replicas,
    tmp_path_factory: pytest.TempPathFactory,
    over: str,
) -> None:
    """
    An emptied service is 503 within 2.5 s, not before a second answer, asked at least one second
    later, agrees.
    """
    (one,) = replicas("one")
    secrets = tmp_path_factory.mktemp("s")
    (secrets / "nomad_token").write_text("a-token")
    with FakeNomad(secrets / "api.sock", acl=True, token="a-token") as task_api:
        server = task_api if over == "socket" else nomad
        by_socket = {"NOMAD_SECRETS_DIR": str(secrets), "NOMAD_ADDR": None}
        options = by_socket if over == "socket" else {}
        subject = serving(supervise, one, nomad=server, **options)
        asked = len(server.requests)
        subject.offer()
        refusal = subject.ready(5, status=503)
        emptied = time.monotonic()
        once = subject.wait_for_log("discovery.empty_unconfirmed")
        first_empty = subject.run.output.times[subject.logs.index(once)]
        assert 1.0 <= emptied - first_empty < 2.5
        assert "index" not in server.requests[asked].query
        assert server.requests[asked].at - first_empty >= 0.95
        assert 0 < int(refusal.headers["Retry-After"]) <= 5
        # For another 100 ms some connections are answered by old workers.
        eventually(lambda: 503 == subject.get("/-/ready").status, 2)


def test_E02_empty_for_a_moment_is_no_change(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A service that is listed as empty for half a second, as at `nomad alloc restart` or after a
    restored snapshot, is served all the while, without a reload.
    """
    (one,) = replicas("one")
    subject = serving(supervise, one)
    before, workers = live_files(subject), all_workers(subject)
    for times in (1, 2):
        asked = len(nomad.requests)
        nomad.fault(body("[]"), times=1)  # the answer after it, a second later, is the truth
        eventually(lambda n=times: len(subject.log_lines("discovery.empty_unconfirmed")) == n)
        assert "one" == subject.get().text
        eventually(lambda n=asked: len(nomad.requests) >= n + 2 and nomad.blocked, 5)
    assert before == live_files(subject)
    assert workers == subject.nginx_workers()
    assert 1 == len(subject.log_lines("reload.applied"))


def test_E03_duplicates_are_one_endpoint(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    One address and port under many IDs, or written in many ways, is one server: not twice the load.
    """
    one, two = replicas("one", "two")
    ways = ["fd00::5", "FD00::5", "fd00:0:0:0:0:0:0:5", "fd00::0.0.0.5"]
    rows = [
        *(row("web", *one.endpoint, job=f"job-{n}") for n in range(5)),
        row("web", *two.endpoint),
        *(row("web", way, 8000) for way in ways),
    ]
    nomad.rows("web", rows)
    subject = supervise(pid1=False, HEALTH_CHECK="off")  # nobody listens on fd00::5
    subject.ready(status=200)
    expected = [f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}", "[fd00::5]:8000"]
    assert sorted(expected) == sorted(servers(subject))
    assert 3 == subject.wait_for_log("reload.applied")["endpoints"]


@pytest.mark.skipif(bool(why_no_ipv6()), reason=why_no_ipv6())
@pytest.mark.parametrize("nginx", BOTH)
def test_E04_an_ipv6_endpoint_answers(supervise: Supervise, nomad: FakeNomad, nginx: str) -> None:
    """
    An IPv6 literal is served for real; the same with a zone is refused, alone, and counted.
    """
    with Replica("six", "::1") as six:
        zoned = [
            row("web", f"{address}", 80)
            for address in ("fe80::1%eth0", "::1%lo", "::1%1", "fd00::1%eth0; } evil {")
        ]
        nomad.rows("web", [row("web", "::1", six.port), *zoned])
        subject = supervise(pid1=False, NGINX_BINARY=nginx)
        assert "six" == subject.ready(status=200).text
        assert [f"[::1]:{six.port}"] == servers(subject)
        assert len(zoned) == subject.wait_for_log("endpoints.changed")["refused"]
        assert b"%" not in live_files(subject)["upstream.conf"]


@pytest.mark.parametrize("nginx", BOTH)
@pytest.mark.parametrize("number", [1, 10, 1000, 10_000])
def test_E06_any_number_of_endpoints_is_applied_within_two_seconds(
    supervise: Supervise, replicas: Replicas, nginx: str, number: int
) -> None:
    """
    A change to 1, 10, 1,000 or 10,000 endpoints is answered by the new generation within 2 s, and
    every one of them is in the files.
    """
    # Nobody listens there: what is measured is the way from the registry to nginx.
    subject = serving(supervise, *replicas("one"), NGINX_BINARY=nginx, HEALTH_CHECK="off")
    many = [(f"127.{n // 65025 + 1}.{n // 255 % 255}.{n % 255 + 1}", 9000) for n in range(number)]
    assert number == len(set(many))
    subject.offer(*many)
    eventually(lambda: len(subject.log_lines("reload.applied")) == 2)
    line = subject.log_lines("reload.applied", endpoints=number, mode="serve")[-1]
    heard = subject.wait_for_log("endpoints.changed", added=number, removed=1)
    times, logs = subject.run.output.times, subject.logs
    assert times[logs.index(line)] - times[logs.index(heard)] < 2
    assert line["duration"] < 2
    assert {f"{address}:{port}" for address, port in many} == set(servers(subject))
    assert number == len(servers(subject))


def test_E05_invalid_entries_are_skipped_and_counted(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    Of an answer with wrong rows the valid ones are served, and the line that says what changed
    counts the others.  When all are wrong, nothing is known, and nothing changes.
    """
    one, two = replicas("one", "two")
    wrong: list[object] = [
        row("web", "", 0),
        row("web", "replica.example", 8000),
        row("web", "10.0.0.1:80; } server { listen 1; } upstream z { server 10.0.0.2", 80),
        row("web", "10.0.0.1", 65536),
        row("web", "169.254.169.254", 80),
        row("web", "10.0.0.1", 8000) | {"Port": "8000"},
        *(None, 5, "10.0.0.1:80", [], {}),
    ]
    nomad.rows("web", [*wrong, row("web", *one.endpoint), wrong[0]])
    subject = supervise(pid1=False)
    assert "one" == subject.ready(status=200).text
    line = subject.wait_for_log("endpoints.changed")
    assert ("warning", 1, len(wrong) + 1) == (line["level"], line["endpoints"], line["refused"])

    nomad.rows("web", [*wrong, row("web", *one.endpoint), row("web", *two.endpoint)])
    subject.wait_for_log("endpoints.changed", endpoints=2, added=1, refused=len(wrong))
    eventually(lambda: "two" == subject.get().text)

    nomad.rows("web", wrong)
    failed = subject.wait_for_log("discovery.failed")
    assert f"none of the {len(wrong)} listed instances may be served" == failed["reason"]
    assert 200 == subject.get().status
    expected = [f"127.0.0.1:{replica.port}" for replica in (one, two)]
    assert sorted(expected) == sorted(servers(subject))


def test_E14_one_endpoint_too_many_is_left_out_and_said(supervise: Supervise) -> None:
    """
    Of 10,001 endpoints 10,000 are served, and the one beyond the limit is told.
    """
    subject = supervise(pid1=False, HEALTH_CHECK="off")
    many = [(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 9000) for n in range(10_001)]
    subject.offer(*many)
    line = subject.wait_for_log("endpoints.changed")
    assert ("warning", 10_000, 1) == (line["level"], line["endpoints"], line["over_limit"])
    subject.wait_for_log("reload.applied", endpoints=10_000, mode="serve")
    assert {f"{host}:{port}" for host, port in sorted(many)[:10_000]} == set(servers(subject))
    assert 10_000 == len(servers(subject))
