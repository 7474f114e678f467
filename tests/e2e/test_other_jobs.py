"""
The other files of jobs/, each with its special features.
"""

import json
import os
import shlex
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.support import containers, steps
from tests.support.client import get
from tests.support.cluster import Cluster
from tests.support.demo_job import show
from tests.support.docker_job import DockerJob, exit_codes, submitted
from tests.support.job_variables import JOBS, in_seconds, replica
from tests.support.keepalive_traffic import KeepaliveTraffic
from tests.support.nomad_agent import why_no_nomad
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad()),
]


def test_one_group_ends_with_its_leader(guarded: Cluster) -> None:
    """
    At the balancer's deadline the replicas stop with it, after an open request got its response.
    Before, the command that the status shows moves the deadline, though the group has four tasks.
    """
    file = JOBS / "load-balancer-single-group.nomad.hcl"
    with submitted(guarded, file, "load-balancer-single-group", ttl="15s", count="3") as job:
        job.await_serving(3)
        (deadline,) = eventually(lambda: job.log_lines("deadline.set"))
        status = ("-task", "nginx", job.balancer, "autoexit-nginx", "status", "--json")
        shown = json.loads(guarded.nomad("alloc", "exec", *status))["instance"]["command"]
        show(shown)
        guarded.nomad(*shlex.split(f"{shown} extend 5s")[1:])
        (moved,) = eventually(lambda: job.log_lines("deadline.moved"))
        before, after = (datetime.fromisoformat(each["deadline"]) for each in (deadline, moved))
        assert 5 == (after - before).total_seconds()
        thread, found = steps.slow_request(job, float(deadline["remaining"]) + 5)
        ours = containers.running(job.balancer)
        job.await_over()
        thread.join(20)
        (allocation,) = job.allocations("all")

        assert "200" == steps.outcome(found)
        assert "complete" == allocation["ClientStatus"]
        assert ["0"] == exit_codes(allocation, "nginx")
        assert 4 == len(ours)
        eventually(lambda: [] == [pid for each in ours for pid in each.left])
        assert [] == containers.of(job.balancer)


@pytest.fixture
def policy(guarded: Cluster) -> Iterator[None]:
    """
    Apply the policy beside the job for this version of Nomad, as the job's head says.
    """
    version = guarded.read("/v1/agent/self")["config"]["Version"]["Version"]
    name = "stop-job" if int(version.split(".")[0]) >= 2 else "stop-job-before-2.0"
    words = ("-namespace", "default", "-job", "service-job", "service-job-ends-itself")
    guarded.nomad("acl", "policy", "apply", *words, str(JOBS / f"{name}.policy.hcl"))
    yield
    guarded.nomad("acl", "policy", "delete", "service-job-ends-itself")


@pytest.mark.usefixtures("policy")
def test_a_service_job_is_stopped(guarded: Cluster) -> None:
    """
    Its balancer stops the whole job: complete, dead, and no request is lost.
    """
    file = JOBS / "service-job.nomad.hcl"
    with submitted(guarded, file, "service-job", ttl="14s") as job:
        job.await_serving(2)
        (deadline,) = eventually(lambda: job.log_lines("deadline.set"))
        thread, found = steps.slow_request(job, float(deadline["remaining"]) + 1)
        job.await_over()
        thread.join(20)
        state = guarded.read(f"/v1/job/{job.id}")
        (balancer,) = job.allocations("balancer")

        assert "200" == steps.outcome(found)
        assert ("dead", True) == (state["Status"], state["Stop"])
        assert {"complete"} == {row["ClientStatus"] for row in job.allocations()}
        assert ["0"] == exit_codes(balancer, "nginx")


def test_a_service_job_without_the_policy(guarded: Cluster) -> None:
    """
    Without the policy the balancer logs it and exits with 0, and Nomad restarts it.
    """
    file = JOBS / "service-job.nomad.hcl"
    with submitted(guarded, file, "service-job", ttl="10s") as job:
        job.await_serving(2)
        (balancer,) = job.allocations("balancer")
        eventually(lambda: job.cluster.allocations(job.id, "balancer")[0]["TaskStates"], 5)
        eventually(lambda: _events(job, balancer["ID"], "Restarting"), 40, 0.2)

        (line,) = job.log_lines("job.not_stopped", balancer["ID"])
        show(str(line))
        assert ["0"] == exit_codes(_row(job, balancer["ID"]), "nginx")
        assert 2 == len(job.running("replicas"))


def test_deepaas_serves_when_its_models_are_loaded(guarded: Cluster) -> None:
    """
    While a model loads clients get a 503, never a 502; then its models.

    Uses the image in DEEPAAS_IMAGE, or replicas that load for 6 s.
    """
    image = os.environ.get("DEEPAAS_IMAGE", "")
    variables = {"replica_image": image} if image else replica(6.0)
    variables |= {"deadline": in_seconds(60), "longest_request": "5s", "count": "1"}
    if not image:
        show("DEEPAAS_IMAGE is not set: using a replica that loads for 6 s")
    job = DockerJob.run(guarded, JOBS / "deepaas.nomad.hcl", "deepaas", variables)
    try:
        eventually(lambda: get(job.port, host=job.host).status, 30, 0.05)
        with KeepaliveTraffic(job.port, job.host, "/v2/models/", clients=1) as load:
            eventually(lambda: any(sent.status == 200 for sent in list(load.sent)), 60, 0.1)
            goal = len(load.sent) + 100
            eventually(lambda: len(load.sent) > goal)
        answered = get(job.port, "/v2/models/", host=job.host)
        show(f"{answered.text[:200]}\n{load.summary}")

        gets = [sent for sent in load.sent if sent.method == "GET"]  # there is no POST here
        first = next(number for number, sent in enumerate(gets) if sent.status == 200)
        assert first > 0
        assert {503} == {sent.status for sent in gets[:first]}
        assert all("starting" in sent.text for sent in gets[:first])
        assert 502 not in {sent.status for sent in load.sent}
        assert not image or "models" in json.loads(answered.text)
        job.await_over(120)
        assert {("complete", "0")} == set(job.endings)
    finally:
        guarded.stop_jobs()


def _row(job: DockerJob, allocation: str) -> dict[str, object]:
    return next(row for row in job.allocations() if row["ID"] == allocation)


def _events(job: DockerJob, allocation: str, kind: str) -> list[str]:
    row = next(row for row in job.allocations() if row["ID"] == allocation)
    events = row["TaskStates"]["nginx"]["Events"]
    return [each["DisplayMessage"] for each in events if each["Type"] == kind]
