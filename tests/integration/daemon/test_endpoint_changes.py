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
    Return why [::1] cannot be used here, or an empty string.
    """
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        return f"no IPv6 here: {error}"
    return ""


def serving(supervise: Supervise, *endpoints: Replica, **options: Any) -> Supervised:
    """
    Return the program, serving these, with a blocking query open.
    """
    subject = supervise(pid1=False, **{"START_WAIT": "5s", **options})
    subject.offer(*endpoints)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    eventually(lambda: subject.nomad.blocked)
    return subject


def servers(subject: Supervised) -> list[str]:
    """
    Return the endpoints in the live files, in their order.
    """
    lines = live_files(subject)["upstream.conf"].decode().splitlines()
    directives = [line.split() for line in lines]
    return [words[1] for words in directives if words[:1] == ["server"] and words[1] != "{"]


def test_E01_a_service_without_instances_answers_503(
    supervise: Supervise, nomad: FakeNomad
) -> None:
    """
    Without instances the port responds within a second of the start: 503 with Retry-After and a
    JSON body, whose state is no_endpoints once a second response confirms it.
    """
    subject = supervise(pid1=False)
    first = subject.ready()
    began = subject.run.output.times[0]
    ready = subject.wait_for_log("nginx.ready")
    assert ready["since_start"] < 1
    assert subject.run.output.times[subject.logs.index(ready)] - began < 2
    assert (503, "1") == (first.status, first.headers["Retry-After"])
    assert "starting" == json.loads(first.text)["state"]
    assert 503 == subject.get("/-/ready").status

    subject.wait_for_log("reload.applied", 5, mode="no_endpoints")
    later = eventually(lambda: a if "no_endpoints" in (a := subject.get()).text else None)
    assert 503 == later.status
    assert 0 < int(later.headers["Retry-After"]) <= 5
    assert "application/json" == later.headers["Content-Type"]
    intervals = [later.at - earlier.at for earlier, later in pairwise(nomad.requests)]
    assert intervals[0] >= 1


@pytest.mark.parametrize("over", ["tcp", "socket"])
def test_E02_a_service_that_became_empty_answers_503(
    supervise: Supervise,
    nomad: FakeNomad,
    replicas: Replicas,
    tmp_path_factory: pytest.TempPathFactory,
    over: str,
) -> None:
    """
    A service that becomes empty is 503 within 2.5 s, but not before a second query, at least one
    second later, confirms it.
    """
    (one,) = replicas("one")
    secrets = tmp_path_factory.mktemp("s")
    (secrets / "nomad_token").write_text("a-token")
    with FakeNomad(secrets / "api.sock", acl=True, token="a-token") as task_api:
        server = task_api if over == "socket" else nomad
        by_socket = {"NOMAD_SECRETS_DIR": str(secrets), "NOMAD_ADDR": None}
        options = by_socket if over == "socket" else {}
        subject = serving(supervise, one, nomad=server, **options)
        queries = len(server.requests)
        subject.offer()
        refusal = subject.ready(5, status=503)
        emptied = time.monotonic()
        line = subject.wait_for_log("discovery.empty_unconfirmed")
        first_empty = subject.run.output.times[subject.logs.index(line)]
        assert 1.0 <= emptied - first_empty < 2.5
        assert "index" not in server.requests[queries].query
        assert server.requests[queries].at - first_empty >= 0.95
        assert 0 < int(refusal.headers["Retry-After"]) <= 5
        # Old workers handle some connections for another 100 ms.
        eventually(lambda: 503 == subject.get("/-/ready").status, 2)


def test_E02_a_momentarily_empty_service_is_no_change(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A service that is empty for half a second, as at `nomad alloc restart` or after a restored
    snapshot, stays served, without a reload.
    """
    (one,) = replicas("one")
    subject = serving(supervise, one)
    before, workers = live_files(subject), all_workers(subject)
    for times in (1, 2):
        queries = len(nomad.requests)
        nomad.fault(body("[]"), times=1)  # the next response, a second later, is correct
        eventually(lambda n=times: len(subject.log_lines("discovery.empty_unconfirmed")) == n)
        assert "one" == subject.get().text
        eventually(lambda n=queries: len(nomad.requests) >= n + 2 and nomad.blocked, 5)
    assert before == live_files(subject)
    assert workers == subject.nginx_workers()
    assert 1 == len(subject.log_lines("reload.applied"))


def test_E03_duplicates_are_one_endpoint(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    One address and port under several IDs or spellings is one server, without a multiple share.
    """
    one, two = replicas("one", "two")
    spellings = ["fd00::5", "FD00::5", "fd00:0:0:0:0:0:0:5", "fd00::0.0.0.5"]
    rows = [
        *(row("web", *one.endpoint, job=f"job-{n}") for n in range(5)),
        row("web", *two.endpoint),
        *(row("web", spelling, 8000) for spelling in spellings),
    ]
    nomad.rows("web", rows)
    subject = supervise(pid1=False, HEALTH_CHECK="off")  # fd00::5 does not respond
    subject.ready(status=200)
    expected = [f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}", "[fd00::5]:8000"]
    assert sorted(expected) == sorted(servers(subject))
    assert 3 == subject.wait_for_log("reload.applied")["endpoints"]


@pytest.mark.skipif(bool(why_no_ipv6()), reason=why_no_ipv6())
@pytest.mark.parametrize("nginx", BOTH)
def test_E04_an_ipv6_endpoint_answers(supervise: Supervise, nomad: FakeNomad, nginx: str) -> None:
    """
    An IPv6 endpoint serves requests; addresses with a zone are refused individually and counted.
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
    After a change to 1, 10, 1,000 or 10,000 endpoints the new generation responds within 2 s, and
    the files contain all of them.
    """
    # These endpoints do not respond; the test measures the time from the registry to nginx.
    subject = serving(supervise, *replicas("one"), NGINX_BINARY=nginx, HEALTH_CHECK="off")
    many = [(f"127.{n // 65025 + 1}.{n // 255 % 255}.{n % 255 + 1}", 9000) for n in range(number)]
    assert number == len(set(many))
    subject.offer(*many)
    eventually(lambda: len(subject.log_lines("reload.applied")) == 2)
    line = subject.log_lines("reload.applied", endpoints=number, mode="serve")[-1]
    changed = subject.wait_for_log("endpoints.changed", added=number, removed=1)
    times, logs = subject.run.output.times, subject.logs
    assert times[logs.index(line)] - times[logs.index(changed)] < 2
    assert line["duration"] < 2
    assert {f"{address}:{port}" for address, port in many} == set(servers(subject))
    assert number == len(servers(subject))


def test_E05_invalid_entries_are_skipped_and_counted(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    In a response with invalid rows the valid ones are served, and `endpoints.changed` counts the
    others.  If all rows are invalid, the query counts as failed and nothing changes.
    """
    one, two = replicas("one", "two")
    invalid: list[object] = [
        row("web", "", 0),
        row("web", "replica.example", 8000),
        row("web", "10.0.0.1:80; } server { listen 1; } upstream z { server 10.0.0.2", 80),
        row("web", "10.0.0.1", 65536),
        row("web", "169.254.169.254", 80),
        row("web", "10.0.0.1", 8000) | {"Port": "8000"},
        *(None, 5, "10.0.0.1:80", [], {}),
    ]
    nomad.rows("web", [*invalid, row("web", *one.endpoint), invalid[0]])
    subject = supervise(pid1=False)
    assert "one" == subject.ready(status=200).text
    line = subject.wait_for_log("endpoints.changed")
    assert ("warning", 1, len(invalid) + 1) == (line["level"], line["endpoints"], line["refused"])
    assert "'replica.example' is a name, not an IP address" in line["reasons"]

    nomad.rows("web", [*invalid, row("web", *one.endpoint), row("web", *two.endpoint)])
    subject.wait_for_log("endpoints.changed", endpoints=2, added=1, refused=len(invalid))
    eventually(lambda: "two" == subject.get().text)

    nomad.rows("web", invalid)
    failed = subject.wait_for_log("discovery.failed")
    assert failed["reason"] == (
        f"none of the {len(invalid)} listed instances may be served: '' has no valid port (0);"
        " 'replica.example' is a name, not an IP address; '10.0.0.1:80; } server { listen 1; }"
        " upstream z { server 10.0.0.2' is not an IP address"
    )
    assert 200 == subject.get().status
    expected = [f"127.0.0.1:{replica.port}" for replica in (one, two)]
    assert sorted(expected) == sorted(servers(subject))


def test_E14_endpoints_beyond_the_limit_are_ignored_and_reported(supervise: Supervise) -> None:
    """
    Of 10,001 endpoints 10,000 are served, and the one beyond the limit is counted in the log.
    """
    subject = supervise(pid1=False, HEALTH_CHECK="off")
    many = [(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 9000) for n in range(10_001)]
    subject.offer(*many)
    line = subject.wait_for_log("endpoints.changed")
    assert ("warning", 10_000, 1) == (line["level"], line["endpoints"], line["over_limit"])
    subject.wait_for_log("reload.applied", endpoints=10_000, mode="serve")
    assert {f"{host}:{port}" for host, port in sorted(many)[:10_000]} == set(servers(subject))
    assert 10_000 == len(servers(subject))
