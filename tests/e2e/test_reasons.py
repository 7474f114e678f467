"""
What the balancer reports about mistakes in a job, on a real agent: log, status and command.
"""

import json
from collections.abc import Iterator

import pytest

from tests.support import containers, small_jobs
from tests.support.client import get
from tests.support.cluster import Cluster
from tests.support.containers import why_no_docker
from tests.support.demo_job import show
from tests.support.nomad_agent import why_no_nomad
from tests.support.small_jobs import Service
from tests.support.waiting import eventually, free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad()),
]

#: A server whose every response is one status; and one that allows the Host `models` only.
STATUS = """
from http.server import *
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        allowed = "{allowed}" in ("", self.headers["Host"])
        self.send_response({status} if allowed else 400)
        self.end_headers()
ThreadingHTTPServer(("", {port}), Handler).serve_forever()
"""

#: A server that accepts, then closes or stays silent.
ACCEPT = """
import socket, time
server = socket.create_server(("", {port}))
while True:
    connection, _ = server.accept()
    if {silent}:
        kept = connection
    else:
        connection.close()
"""


def status(code: int, allowed: str = "") -> str:
    """
    Return the script of a server with this status.
    """
    return STATUS.replace("{status}", str(code)).replace("{allowed}", allowed)


@pytest.fixture(scope="module")
def agent() -> Iterator[Cluster]:
    """
    `nomad agent -dev`, with raw_exec.
    """
    with Cluster(split=False) as cluster:
        yield cluster


def test_an_endpoint_that_is_not_ready_has_a_reason(agent: Cluster) -> None:
    """
    Six instances, each not ready for another reason: after 30 s one warning for each reason, with
    the next step, and the same in the status, from the first probe on.
    """
    causes = {
        "HTTP 404": (status(404), "HEALTH_PATH"),
        "HTTP 400": (status(200, "models"), "HEALTH_HOST"),
        "HTTP 503": (status(503), "still loading"),
        "connection refused": ("", "listens on"),
        "closed after ": (ACCEPT.replace("{silent}", "False"), "0.0.0.0"),
        "timeout after 1s, no complete": (ACCEPT.replace("{silent}", "True"), "HEALTH_TIMEOUT"),
    }
    services = [Service("web", script) for script, _ in causes.values()]
    balancer = small_jobs.run(
        agent, *services, name="reasons", SERVICE_NAME="web", HEALTH_PATH="/", HEALTH_TIMEOUT="1s"
    )
    found = eventually(lambda: _all_with(balancer, list(causes)), 20, 0.2)
    for cause, (_, step) in causes.items():
        (hint,) = [row["hint"] for row in found if row["outcome"].startswith(cause)]
        assert step in hint

    eventually(lambda: len(balancer.lines("health.not_ready")) >= len(causes), 60, 0.2)
    table = balancer.command("status")
    for line in balancer.lines("health.not_ready"):
        show(f"{line['endpoints']} {line['last_probe']}: {line['hint']}")
    assert len(causes) == len(balancer.lines("health.not_ready"))
    for cause, (_, step) in causes.items():
        (line,) = [
            each
            for each in balancer.lines("health.not_ready")
            if each["last_probe"].startswith(cause)
        ]
        assert ("warning", 1) == (line["level"], len(line["endpoints"]))
        assert step in line["hint"]
        assert cause in table
    assert any("HEALTH_HOST" in text for text in balancer.warnings("not_ready"))
    agent.stop_jobs()


def test_health_host_makes_a_server_ready_that_allows_one_host(agent: Cluster) -> None:
    """
    With the setting that the reason names.
    """
    balancer = small_jobs.run(
        agent,
        Service("web", status(200, "models")),
        name="host",
        SERVICE_NAME="web",
        HEALTH_PATH="/",
        HEALTH_HOST="models",
    )

    eventually(lambda: balancer.status["ready"], 30, 0.2)
    agent.stop_jobs()


def _all_with(balancer: small_jobs.Balancer, outcomes: list[str]) -> list[dict[str, str]]:
    """Return the last probe of each endpoint, once each of these outcomes is among them."""
    rows = [row["last_probe"] or {} for row in balancer.status["endpoints"]["rows"]]
    for outcome in outcomes:
        assert any(row.get("outcome", "").startswith(outcome) for row in rows), rows
    return rows


def test_a_misspelt_service_has_a_cause(agent: Cluster) -> None:
    """
    After 10 s one warning and the status name the service, the namespace, the provider and a
    service with a similar name, which the workload's own token may list.
    """
    balancer = small_jobs.run(agent, Service("replicas"), name="misspelt", SERVICE_NAME="replicsa")
    line = balancer.await_line("discovery.no_endpoints", 30)
    show(f"{line['reason']}: {line['hint']}")

    assert ("warning", "replicsa", "default") == (
        line["level"],
        line["service"],
        line["namespace"],
    )
    assert "replicas" in line["hint"]
    assert 'provider = "nomad"' in line["hint"]
    (text,) = balancer.warnings("no_instances")
    assert f"{line['reason']}; {line['hint']}" == text
    assert text in balancer.command("status")
    assert [text] == [source["cause"] for source in balancer.status["sources"]]
    agent.stop_jobs()


@pytest.mark.parametrize(
    "given, part",
    [
        (
            {"SERVICE_TAGS": "v2"},
            "2 instances of service 'web' listed in",
        ),
        ({"SERVICE_TAGS": "v2"}, "their tags: blue, v1"),
        ({"SERVICE_JOB": "other"}, "their jobs: filtered"),
    ],
)
def test_filters_that_select_nothing_have_a_cause(
    agent: Cluster, given: dict[str, str], part: str
) -> None:
    """
    How many instances are listed, and which tags or jobs they carry instead.
    """
    services = [Service("web", tags=("v1",)), Service("web", tags=("blue",))]
    balancer = small_jobs.run(agent, *services, name="filtered", SERVICE_NAME="web", **given)
    reasons = eventually(lambda: _reasons_with(balancer, part), 40, 0.2)
    show(reasons[-1])

    assert next(iter(given)) in reasons[-1]
    assert part in balancer.warnings("no_instances")[0]
    agent.stop_jobs()


def _reasons_with(balancer: small_jobs.Balancer, part: str) -> list[str]:
    reasons = [line["reason"] for line in balancer.lines("discovery.no_endpoints")]
    assert any(part in reason for reason in reasons), reasons
    return reasons


def test_the_only_port_of_the_group_is_used_whatever_its_label(agent: Cluster) -> None:
    """
    Clients reach the balancer at the port of the label `web`; the choice is logged, and commands
    find the supervisor.
    """
    balancer = small_jobs.run(
        agent, Service("web", status(200)), name="label", ports={"web": 0}, SERVICE_NAME="web"
    )
    line = balancer.await_line("listen.port_chosen")
    eventually(lambda: balancer.status["ready"], 30, 0.2)

    assert ("web", balancer.port_of("web")) == (line["label"], line["port"])
    assert 200 == get(balancer.port_of("web")).status
    assert [] == balancer.lines("listen.port_unpublished")
    assert [] == balancer.warnings("port_unpublished")
    assert "ready" in balancer.command("healthcheck") + balancer.command("status")
    agent.stop_jobs()


@pytest.mark.parametrize(
    "ports, given",
    [({"web": 0, "model": 0}, {}), ({"web": 0}, {"LISTEN_PORT": "FREE"})],
    ids=["two labels", "another port is set"],
)
def test_a_public_port_that_is_none_of_the_group_is_reported(
    agent: Cluster, ports: dict[str, int], given: dict[str, str]
) -> None:
    """
    The balancer serves on it as before, and the log and the status have the line to add.
    """
    given = {name: str(free_port()) for name in given}
    balancer = small_jobs.run(
        agent, Service("web", status(200)), name="ports", ports=ports, SERVICE_NAME="web", **given
    )
    line = balancer.await_line("listen.port_unpublished")
    show(line["reason"])

    assert ("warning", int(given.get("LISTEN_PORT", "8080"))) == (line["level"], line["port"])
    assert f"web ({balancer.port_of('web')})" in line["reason"]
    assert f'LISTEN_PORT = "${{NOMAD_PORT_{min(ports)}}}"' in line["reason"]
    eventually(lambda: [line["reason"]] == balancer.warnings("port_unpublished"), 20, 0.2)
    assert line["reason"] in balancer.command("status")
    agent.stop_jobs()


@pytest.mark.skipif(bool(why_no_docker()), reason=why_no_docker())
def test_loopback_in_a_container_is_named_as_the_cause() -> None:
    """
    `nomad agent -dev` registers 127.0.0.1, which in the balancer's container is the container
    itself: the warning names that, though the label of its port is right.
    """
    with Cluster(split=False, docker=True, interface="lo") as cluster:
        balancer = small_jobs.run(
            cluster,
            Service("web", status(200)),
            name="dev",
            ports={"web": 0},
            image=containers.image(),
            SERVICE_NAME="web",
        )
        line = balancer.await_line("health.not_ready", 60)
        show(f"{line['last_probe']}: {line['hint']}")

        assert "connection refused" == line["last_probe"]
        assert "127.0.0.1 is the container itself, not the host" in line["hint"]
        assert balancer.port_of("web") == balancer.await_line("listen.port_chosen")["port"]
        answer = get(balancer.port_of("web"))
        assert (503, "starting") == (answer.status, json.loads(answer.text)["state"])
