"""
jobs/demo.nomad.hcl on real agents.

The tests follow one job from start to exit, but each can be run alone.
"""

import shutil
import time
from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster, Row
from tests.support.demo_job import SERVICE, DemoJob, show, when
from tests.support.nomad_agent import why_no_nomad
from tests.support.traffic import Traffic
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad()),
]

OUTAGE = 30.0


def own_events(lines: list[Row]) -> list[tuple[str, str]]:
    """
    Return the balancer's own events: without nginx's messages about a replica that did not listen
    yet, and without the warnings before the deadline, which is always near here.
    """
    excluded = {"nginx.output", "deadline.near"}
    return [(line["event"], line["level"]) for line in lines if line["event"] not in excluded]


@pytest.fixture(scope="module", params=["laptop", "apart"])
def job(request: pytest.FixtureRequest) -> Iterator[DemoJob]:
    """
    The job on `nomad agent -dev`, and on a separate server and client with ACLs.

    With ACLs the balancer has only its workload identity to send queries.
    """
    is_split = request.param == "apart"
    with Cluster(split=is_split, acl=is_split) as cluster:
        found = DemoJob.run(cluster, ttl="75s" if is_split else "25s")
        yield found
    shutil.rmtree(f"/run/autoexit-nginx/{found.port}", ignore_errors=True)


def test_it_uses_the_task_api(job: DemoJob) -> None:
    """
    It finds the Task API's socket in its secrets folder without a setting in the job.
    """
    (started,) = job.log_lines("supervisor.started")
    socket, token = job.cluster.task_api(job.allocation, "nginx")

    assert f"unix://{socket}" == started["nomad"]
    assert token.startswith("eyJ")
    assert token not in str(job.log)


def test_both_replicas_serve(job: DemoJob) -> None:
    """
    The instances in the registry respond on its port.
    """
    assert {"replica 0", "replica 1"} <= job.responding()
    assert len(job.cluster.instances(SERVICE)) == job.log[-1].get("endpoints", 2)


def test_scaling_reaches_nginx(job: DemoJob) -> None:
    """
    A third replica gets traffic, after one reload and without a failed request.
    """
    reloads = len(job.log_lines("reload.applied"))
    with Traffic(job.port, every=0.01) as traffic:
        job.scale(3)
        eventually(lambda: traffic.first("replica 2\n"))

    show(f"  {len(traffic.outcomes)} requests meanwhile, {len(traffic.failures)} failed")
    assert [] == traffic.failures
    assert reloads + 1 == len(job.log_lines("reload.applied"))


def test_an_outage_changes_nothing(job: DemoJob) -> None:
    """
    With Nomad's server stopped for 30 s no request fails and no reload happens; then changes apply.
    """
    if not job.cluster.is_split:
        pytest.skip("the server is also the client")
    server = job.cluster.server
    before = len(job.log)
    with Traffic(job.port, every=0.02, seconds=90) as traffic:
        server.stop()
        stopped_at = time.monotonic()
        eventually(lambda: time.monotonic() - stopped_at > OUTAGE, OUTAGE + 5, 0.1)
        meanwhile = job.log[before:]
        restarted_at = time.time()
        server.start()
        job.cluster.await_server()
        eventually(lambda: job.log_lines("discovery.recovered"))
    after = job.log[before:]

    recovered = when(job.log_lines("discovery.recovered")[-1])
    counts = f"{len(traffic.outcomes)} requests, {len(traffic.failures)} failed"
    show(f"server away {OUTAGE:g} s: {counts}")
    show(f"server started again -> discovery.recovered {recovered - restarted_at:.3f} s")
    for line in after:
        show(f"  {line}")
    assert [] == traffic.failures
    assert [("discovery.failed", "warning")] == own_events(meanwhile)
    assert [("discovery.failed", "warning"), ("discovery.recovered", "info")] == own_events(after)
    job.scale(2 if len(job.cluster.instances(SERVICE)) == 3 else 3)


def test_the_deadline(job: DemoJob) -> None:
    """
    At the deadline Nomad shows the allocation as complete: exit code 0, never restarted.
    """
    eventually(lambda: job.balancer["ClientStatus"] != "running", 100, 0.1)

    state = job.balancer["TaskStates"]["nginx"]
    (terminated,) = [event for event in state["Events"] if event["Type"] == "Terminated"]
    (deadline,) = job.log_lines("deadline.set")
    (draining,) = job.log_lines("draining")
    (ended,) = job.log_lines("ended")
    show(f"deadline {deadline['deadline']}; {draining}; {ended}")
    show(f"Nomad: {job.balancer['ClientStatus']}; {terminated['DisplayMessage']}")
    assert ("complete", False, 0) == (
        job.balancer["ClientStatus"],
        state["Failed"],
        state["Restarts"],
    )
    assert ("0", ("deadline", 0)) == (
        terminated["Details"]["exit_code"],
        (ended["reason"], ended["code"]),
    )
    assert when(ended) - when(deadline) == pytest.approx(deadline["remaining"], abs=1.0)
