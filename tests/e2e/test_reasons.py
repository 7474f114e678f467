"""
What the balancer reports about mistakes in a job, on a real agent: log, status and command.
"""

from collections.abc import Iterator

import pytest

from tests.support import small_jobs
from tests.support.cluster import Cluster
from tests.support.demo_job import show
from tests.support.nomad_agent import why_no_nomad
from tests.support.small_jobs import Service
from tests.support.waiting import eventually

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
