"""
The same steps with the pattern being replaced: bash, sleep and kill, Nomad's template and SIGHUP.

These tests verify its column of the table in docs/migrating.md.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import containers, steps
from tests.support.cluster import Cluster
from tests.support.docker_job import DockerJob, exit_codes
from tests.support.job_variables import replica
from tests.support.nomad_agent import why_no_nomad
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad()),
]

FILE = Path(__file__).parent / "sleep-and-kill.nomad.hcl"


def submitted(cluster: Cluster, seconds: int, attempts: int = 0) -> DockerJob:
    """
    Run the job, and return it once both replicas respond.
    """
    variables = {**replica(1.0), "seconds": str(seconds), "attempts": str(attempts)}
    job = DockerJob.run(cluster, FILE, "old", variables)
    return job.await_serving(2)


@pytest.fixture(scope="module")
def serving(guarded: Cluster) -> Iterator[DockerJob]:
    """
    The job with a day until its deadline.
    """
    yield submitted(guarded, 86400)
    guarded.stop_jobs()


def test_scaling_has_no_effect(serving: DockerJob) -> None:
    """
    Bash drops the SIGHUP: none of four new replicas gets a request.
    """
    seen = steps.scaled(serving, 6, 2)

    steps.note("scale 2 → 6 → 2 (until all six answer)", "old", str(seen))
    assert seen.after is None
    assert {"replica0", "replica1"} == set(seen.load.names)


def test_a_restarted_agent_loses_no_request(serving: DockerJob) -> None:
    """
    The containers keep running without their agent.
    """
    load = steps.agent_restarted(serving)

    steps.note("the client's agent restarts", "old", load.summary)
    assert [] == load.failures


def test_a_killed_nginx_is_not_replaced(serving: DockerJob) -> None:
    """
    Bash keeps sleeping: nginx is not replaced, and Nomad shows `running`.
    """
    seen = steps.nginx_killed(serving)

    steps.note("nginx is killed (until it serves again)", "old", f"{seen}; Nomad shows `running`")
    assert seen.after is None
    assert [serving.balancer] == serving.running("balancer")


def test_a_stop_by_hand_cuts_requests(serving: DockerJob) -> None:
    """
    Bash drops the SIGTERM too, and is killed after kill_timeout.
    """
    began = time.monotonic()
    serving.cluster.nomad("job", "stop", "-detach", serving.id)
    serving.await_over()
    took = time.monotonic() - began
    (balancer,) = serving.allocations("balancer")

    code = exit_codes(balancer, "nginx")[-1]
    steps.note("stop by hand", "old", f"over after {took:.1f} s, balancer's code {code}")
    assert "137" == code
    assert took > 5


@pytest.fixture
def ending(laptop: Cluster) -> Iterator[DockerJob]:
    """
    The job with half a minute until its deadline.
    """
    yield submitted(laptop, 30)
    laptop.stop_jobs()


def test_replaced_replicas_are_an_outage(guarded: Cluster) -> None:
    """
    Replicas on other ports never reach nginx, and the old ones are gone: every request gets a 502.
    """
    job = submitted(guarded, 300, attempts=1)
    seen = steps.replaced(job)

    steps.note("both replicas replaced (until they answer)", "old", str(seen))
    assert seen.after is None
    assert {502} == {sent.status for sent in seen.load.sent[-500:]}


def test_its_deadline_is_a_failure(ending: DockerJob) -> None:
    """
    Open requests are cut, the exit codes are 137 and 143, and Nomad shows `failed`.
    """
    started = [each for row in ending.allocations() for each in containers.running(row["ID"])]
    assert len(started) == 3
    thread, found = steps.slow_request(ending, 40.0)
    eventually(lambda: ending.allocations("balancer")[0]["ClientStatus"] == "failed", 90, 0.2)
    thread.join(60)
    eventually(lambda: not ending.running("replicas"), 60, 0.2)

    steps.note(
        "the deadline",
        "old",
        f"{steps.outcome(found)} for an open request; {steps.endings(ending)}",
    )
    assert "200" != steps.outcome(found)
    assert {("failed", "137"), ("failed", "143")} == set(ending.endings)
