from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor.system.network import local_addresses
from tests.support.fake_nomad import FakeNomad
from tests.support.live_files import live_files
from tests.support.nomad_registry import row
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]


def servers(subject: Supervised) -> dict[str, list[str]]:
    """
    Return the servers in the live files, and the parameters of each.
    """
    lines = live_files(subject)["upstream.conf"].decode().splitlines()
    found = [line.strip().rstrip(";").split() for line in lines]
    return {words[1]: words[2:] for words in found if words[:1] == ["server"] and words[1] != "{"}


def address_of(replica: Replica) -> str:
    """
    Return a replica's address as in nginx's configuration.
    """
    return "{}:{}".format(*replica.endpoint)


def test_S03_another_job_of_the_same_name_gets_nothing(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    With SERVICE_JOB=self an instance that another job registered under the same name gets no
    request: not next to ours, not before them, and not after they are gone, which is a 503.
    """
    ours, theirs = replicas("ours", "theirs")
    foreign = row("web", *theirs.endpoint, job="intruder", tags=["lb.weight=1000"])
    nomad.rows("web", [foreign])
    subject = supervise(pid1=False, SERVICE_JOB="self", NOMAD_JOB_ID="replicas")
    subject.wait_for_log("reload.applied", mode="no_endpoints")
    eventually(lambda: "no_endpoints" in subject.get().text)

    nomad.rows("web", [foreign, row("web", *ours.endpoint)])
    assert "ours" == subject.ready(status=200).text
    line = subject.wait_for_log("endpoints.changed", endpoints=1)
    assert ("info", 1, 0) == (line["level"], line["skipped"], line["refused"])
    assert [address_of(ours)] == list(servers(subject))
    # For up to 100 ms old workers still accept connections.
    eventually(lambda: {"ours"} == {subject.get().text for _ in range(20)})

    nomad.rows("web", [foreign])
    assert "no_endpoints" in subject.ready(status=503).text
    assert [] == subject.log_lines("discovery.failed")
    assert [] == subject.log_lines("service.multiple_jobs")
    assert 0 == len(theirs.seen)


def test_S03_by_default_all_jobs_are_served_and_one_warning_is_logged(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    Two jobs under one name are both served, with one warning that names them.
    """
    one, two, three = replicas("one", "two", "three")
    rows = [row("web", *one.endpoint, job="a"), row("web", *two.endpoint, job="b")]
    nomad.rows("web", rows)
    subject = supervise(pid1=False)
    subject.ready(status=200)
    assert ["a", "b"] == subject.wait_for_log("service.multiple_jobs", level="warning")["jobs"]

    nomad.rows("web", [*rows, row("web", *three.endpoint, job="c")])
    subject.wait_for_log("endpoints.changed", endpoints=3)
    eventually(lambda: "three" == subject.get().text)
    assert 1 == len(subject.log_lines("service.multiple_jobs"))


def test_only_instances_with_all_the_tags_are_served(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    An instance is served while it has the tags; after the last one lost them the response is
    503.
    """
    one, two = replicas("one", "two")

    def tagged(*tags: str) -> None:
        nomad.rows("web", [row("web", *one.endpoint), row("web", *two.endpoint, tags=tags)])

    tagged("gpu", "v1")
    subject = supervise(pid1=False, SERVICE_TAGS="v2, gpu")
    subject.wait_for_log("reload.applied", mode="no_endpoints")
    tagged("v2", "x", "gpu")
    assert "two" == subject.ready(status=200).text
    assert [address_of(two)] == list(servers(subject))
    tagged("v2", "gpu2")
    assert "no_endpoints" in subject.ready(status=503).text


def test_a_weight_is_applied_and_an_invalid_tag_is_counted(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A change of tags alone is applied to nginx; their text never is.
    """
    one, two = replicas("one", "two")

    def tagged(*tags: str) -> None:
        nomad.rows("web", [row("web", *one.endpoint), row("web", *two.endpoint, tags=tags)])

    tagged("lb.weight=3; } evil {", "lb.wieght=3")
    subject = supervise(pid1=False)
    subject.ready(status=200)
    assert 2 == subject.wait_for_log("endpoints.changed", level="warning")["invalid_tags"]
    assert b"evil" not in b"".join(live_files(subject).values())
    assert servers(subject)[address_of(one)] == servers(subject)[address_of(two)]

    tagged("lb.weight=3")
    eventually(lambda: "weight=3" in servers(subject)[address_of(two)])
    assert "weight=3" not in servers(subject)[address_of(one)]
    line = subject.wait_for_log("endpoints.changed", added=0, removed=0)
    assert ("info", 2, 0) == (line["level"], line["endpoints"], line["invalid_tags"])


def test_E12_the_balancer_never_serves_itself(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    Registered under its own SERVICE_NAME, at every address of this machine and the one that Nomad
    publishes, it is skipped, not refused, and gets no request from itself.
    """
    (one,) = replicas("one")
    subject = Supervised(
        nomad,
        pid1=False,
        LISTEN_ADDRESS=None,
        NOMAD_IP_http="192.0.2.77",
        NOMAD_HOST_PORT_http="21000",
        HEALTH_CHECK="off",
    )
    own = {("127.0.0.1", subject.port), ("127.9.9.9", subject.port), ("192.0.2.77", 21000)}
    own |= {(address, subject.port) for address in local_addresses()}
    own |= {(address, 21000) for address in local_addresses()}
    neighbours = ["192.0.2.77:21001", f"192.0.2.77:{subject.port}"]
    pairs = [(host, int(port)) for host, _, port in (text.partition(":") for text in neighbours)]
    nomad.rows("web", [row("web", *pair) for pair in [*sorted(own), one.endpoint, *pairs]])
    with subject:
        subject.wait_for_log("reload.applied", mode="serve")
        line = subject.wait_for_log("endpoints.changed")
        assert sorted([address_of(one), *neighbours]) == sorted(servers(subject))
        assert (len(own), 0) == (line["skipped"], line["refused"])


def test_E12_the_balancer_alone_is_no_endpoint(supervise: Supervise, nomad: FakeNomad) -> None:
    """
    If only the balancer is registered the response is 503, and discovery has not failed.
    """
    subject = Supervised(nomad, pid1=False)
    subject.offer(("127.0.0.1", subject.port))
    with subject:
        subject.wait_for_log("reload.applied", mode="no_endpoints")
        eventually(lambda: "no_endpoints" in subject.get().text)
        assert [] == subject.log_lines("discovery.failed")


@pytest.mark.parametrize("source", ["ENDPOINTS", "ENDPOINTS_FILE"])
def test_E12_a_list_that_names_the_balancer_is_served_without_it(
    replicas: Replicas, nomad: FakeNomad, tmp_path: Path, source: str
) -> None:
    """
    The balancer is also skipped in ENDPOINTS, and in a file.
    """
    (one,) = replicas("one")
    port = Supervised(nomad, pid1=False).port
    entries = [address_of(one), f"127.0.0.1:{port}", f"localhost:{port}"]
    path = tmp_path / "list"
    path.write_text("\n".join(entries))
    value = str(path) if source == "ENDPOINTS_FILE" else ",".join(entries)
    options: dict[str, Any] = {source: value, "LISTEN_PORT": str(port), "LISTEN_ADDRESS": None}
    with Supervised(nomad, pid1=False, **options) as subject:
        assert "one" == subject.ready(status=200).text
        line = subject.wait_for_log("endpoints.changed")
        assert [address_of(one)] == list(servers(subject))
        assert (2, 0) == (line["skipped"], line["refused"])


def test_S04_inside_an_allocation_loopback_is_refused_unless_allowed(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A registered loopback address would be the task's own: it gets no request, unless
    ALLOW_NETWORKS contains it.
    """
    (one,) = replicas("one")
    environ = {
        "NOMAD_ALLOC_ID": "3b7a3d0a-1d2e-4f0a-9b8c-0a1b2c3d4e5f",
        "NOMAD_IP_http": "10.9.9.9",
    }
    nomad.set("web", [one.endpoint])
    refusing = supervise(pid1=False, **environ)
    line = refusing.wait_for_log("discovery.failed")
    assert line["reason"] == (
        "none of the 1 listed instances may be served: 127.0.0.1 is this task itself inside an"
        " allocation; set ALLOW_NETWORKS to serve it"
    )
    assert "starting" in refusing.ready(status=503).text
    assert 0 == len(one.seen)

    allowed = supervise(pid1=False, ALLOW_NETWORKS="127.0.0.0/8", **environ)
    assert "one" == allowed.ready(status=200).text
