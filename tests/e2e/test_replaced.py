"""
The same steps with the pattern being replaced: bash, sleep and kill, Nomad's template and SIGHUP.

What it does there is no surprise; the table in docs/migrating.md says so, and these tests hold the
table to it.
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
    The job with its two replicas, once both answer.
    """
    given = {**replica(1.0), "seconds": str(seconds), "attempts": str(attempts)}
    job = DockerJob.run(cluster, FILE, "old", given)
    return job.await_serving(2)


@pytest.fixture(scope="module")
def serving(guarded: Cluster) -> Iterator[DockerJob]:
    """
    The job, with a day to live.
    """
    yield submitted(guarded, 86400)
    guarded.stop_jobs()


def test_scaling_is_never_noticed(serving: DockerJob) -> None:
    """
    Bash swallows the SIGHUP: none of four new replicas gets a request.
    """
    seen = steps.scaled(serving, 6, 2)

    steps.note("scale 2 → 6 → 2 (until all six answer)", "old", str(seen))
    assert seen.after is None
    assert {"replica0", "replica1"} == set(seen.load.names)


def test_a_restarted_agent_is_survived(serving: DockerJob) -> None:
    """
    Containers run on while their agent is away, this one too.
    """
    load = steps.agent_restarted(serving)

    steps.note("the client's agent restarts", "old", load.summary)
    assert [] == load.failures


def test_a_dead_nginx_stays_dead(serving: DockerJob) -> None:
    """
    Bash sleeps on: nobody notices, and Nomad says `running`.
    """
    seen = steps.nginx_killed(serving)

    steps.note("nginx is killed (until it serves again)", "old", f"{seen}; Nomad says `running`")
    assert seen.after is None
    assert [serving.balancer] == serving.running("balancer")


def test_a_stop_by_hand_cuts(serving: DockerJob) -> None:
    """
    Bash drops the SIGTERM too, and is killed when kill_timeout is over.
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
    The job, with half a minute to live.
    """
    yield submitted(laptop, 30)
    laptop.stop_jobs()


def test_replaced_replicas_are_an_outage(guarded: Cluster) -> None:
    """
    Replicas with other ports are never heard of, and the old ones are gone: nothing but 502.
    """
    job = submitted(guarded, 300, attempts=1)
    seen = steps.replaced(job)

    steps.note("both replicas replaced (until they answer)", "old", str(seen))
    assert seen.after is None
    assert {502} == {sent.status for sent in seen.load.sent[-500:]}


def test_its_end_is_a_failure(ending: DockerJob) -> None:
    """
    Who waits is cut off, the codes are 137 and 143, and Nomad shows `failed`.
    """
    ours = [each for row in ending.allocations() for each in containers.running(row["ID"])]
    assert len(ours) == 3
    thread, found = steps.slow_request(ending, 40.0)
    eventually(lambda: ending.allocations("balancer")[0]["ClientStatus"] == "failed", 90, 0.2)
    thread.join(60)
    eventually(lambda: not ending.running("replicas"), 60, 0.2)

    steps.note(
        "the deadline", "old", f"{steps.outcome(found)} for who waited; {steps.endings(ending)}"
    )
    assert "200" != steps.outcome(found)
    assert {("failed", "137"), ("failed", "143")} == set(ending.endings)
