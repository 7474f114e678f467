"""
jobs/load-balancer-multi-group.nomad.hcl: scaled, disturbed, stopped, and at its deadline.
"""

import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import containers, steps
from tests.support.cluster import Cluster, Row
from tests.support.demo_job import show, when
from tests.support.docker_job import DockerJob, exit_codes
from tests.support.docker_job import submitted as docker_job
from tests.support.job_variables import JOBS, in_seconds, replica
from tests.support.nomad_agent import why_no_nomad
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad()),
]

FILE = JOBS / "load-balancer-multi-group.nomad.hcl"


def submitted(cluster: Cluster, deadline: float) -> DockerJob:
    """
    Run the job with two replicas that load for a second; return it once both respond.
    """
    variables = {
        **replica(load=1.0),
        "deadline": in_seconds(deadline),
        "drain_timeout": "5s",
        "health_path": "/",
    }
    job = DockerJob.run(cluster, FILE, "load-balancer", variables)
    return job.await_serving(2)


def not_stopped_by_a_test(job: DockerJob) -> list[Row]:
    """
    Return its allocations, without those that a test stopped by `nomad alloc stop`.

    Nomad 1.10 shows such an allocation as `failed`, whatever its exit code, 2.0 as `complete`.
    """
    return [row for row in job.allocations() if not row["DesiredTransition"].get("Migrate")]


@pytest.fixture(scope="module")
def serving(guarded: Cluster) -> Iterator[DockerJob]:
    """
    The job; the last test stops it.
    """
    show(f"nginx {containers.nginx()} in {containers.image()}")
    yield submitted(guarded, deadline=86400)
    guarded.stop_jobs()


@pytest.fixture(scope="module")
def ending(laptop: Cluster) -> Iterator[DockerJob]:
    """
    The job; the last test waits for its deadline.
    """
    yield submitted(laptop, deadline=55)
    laptop.stop_jobs()


def test_one_deadline_for_all(laptop: Cluster, tmp_path: Path) -> None:
    """
    The replicas have the balancer's DEADLINE and no other setting, as the documentation shows: a
    request of 5 s that began 2 s before it gets 200, and every task is complete with code 0.
    """
    text, count = re.subn(r"^ +LINGER .*\n", "", FILE.read_text(), flags=re.MULTILINE)
    assert 1 == count
    file = tmp_path / FILE.name
    file.write_text(text)
    variables = {"deadline": in_seconds(30), "health_path": "/"}
    with docker_job(laptop, file, "load-balancer", **variables) as job:
        job.await_serving(2)
        (line,) = eventually(lambda: job.log_lines("deadline.set"))
        deadline = when(line) + line["remaining"]
        eventually(lambda: time.time() >= deadline - 2, 40, 0.01)
        thread, found = steps.slow_request(job, 5.0)
        job.await_over(120)
        thread.join(20)
        (ended,) = job.log_lines("ended")

        show(f"one deadline: {steps.outcome(found)} for an open request; {steps.endings(job)}")
        assert "200" == steps.outcome(found)
        assert 0 == ended["connections_cut"]
        assert {"complete"} == {row["ClientStatus"] for row in job.allocations()}
        assert {"0"} == {
            exit_codes(row, task)[-1] for row in job.allocations() for task in row["TaskStates"]
        }


class TestWhileItServes:
    """
    On a separate server and client, with ACLs on and no policy.
    """

    def test_it_uses_its_workload_identity(self, serving: DockerJob) -> None:
        """
        Discovery uses the Task API's socket, with the workload identity and without a policy.
        """
        (started,) = eventually(lambda: serving.log_lines("supervisor.started"))
        version = serving.cluster.read("/v1/agent/self")["config"]["Version"]["Version"]
        steps.note(
            "about", "ours", f"Nomad {version}, Docker, nginx {containers.nginx()} for both."
        )

        assert "unix:///secrets/api.sock" == started["nomad"]
        assert [] == serving.cluster.read("/v1/acl/policies")
        assert [] == serving.log_lines("discovery.failed")

    def test_scaling_loses_no_request(self, serving: DockerJob) -> None:
        """
        2 -> 6 -> 2 under kept connections: every request is answered, all six replicas respond.
        """
        seen = steps.scaled(serving, 6, 2)

        steps.note("scale 2 → 6 → 2 (until all six answer)", "ours", str(seen))
        assert [] == seen.load.failures
        assert seen.after is not None
        assert seen.load.per_second >= 100

    def test_replacing_loses_no_request(self, serving: DockerJob) -> None:
        """
        Both replicas are replaced, one after the other, with new ports: every request is answered.
        """
        seen = steps.replaced(serving)

        steps.note("both replicas replaced (until they answer)", "ours", str(seen))
        assert [] == seen.load.failures

    def test_the_agent_restarts(self, serving: DockerJob) -> None:
        """
        A restart of the client's agent costs no request, and its socket is found again.
        """
        balancer = serving.balancer
        (before,) = containers.running(balancer)
        load = steps.agent_restarted(serving)
        serving.scale(3)
        serving.await_serving(3)
        serving.scale(2)
        serving.await_running(2)

        steps.note("the client's agent restarts", "ours", load.summary)
        assert [] == load.failures
        assert [before.id] == [each.id for each in containers.running(balancer)]

    def test_a_replica_is_killed(self, serving: DockerJob) -> None:
        """
        Only POSTs that had been sent to it are lost, for a moment; it comes back.

        Docker's port proxy outlives the container a little and drops requests.
        """
        seen = steps.replica_killed(serving)
        lost = seen.load.failures

        steps.note("a replica is killed", "ours", str(seen))
        assert {sent.method for sent in lost} <= {"POST"}
        assert not lost or lost[-1].at - lost[0].at < 2
        assert seen.after is not None

    def test_nginx_is_killed(self, serving: DockerJob) -> None:
        """
        All processes of nginx are killed: a new one serves within 3 s, in the same container.
        """
        (before,) = containers.running(serving.balancer)
        seen = steps.nginx_killed(serving)

        steps.note("nginx is killed (until it serves again)", "ours", str(seen))
        assert seen.after is not None
        assert seen.after < 3
        assert [before.id] == [each.id for each in containers.running(serving.balancer)]

    def test_a_stop_by_hand(self, serving: DockerJob) -> None:
        """
        After `nomad job stop` open requests complete, every task exits with 0, and nothing is left.
        """
        ours = [each for row in serving.allocations() for each in containers.running(row["ID"])]
        thread, found = steps.slow_request(serving, 2.0)
        eventually(lambda: serving.names(4))
        began = time.monotonic()
        serving.cluster.nomad("job", "stop", "-detach", serving.id)
        serving.await_over()
        took = time.monotonic() - began
        thread.join(20)

        last = [row for row in serving.allocations() if row["DesiredStatus"] == "stop"]
        text = (
            f"{steps.outcome(found)} for an open request, over after {took:.1f} s, balancer's code "
        )
        text += exit_codes(last[-1], "nginx")[-1] if "nginx" in last[-1]["TaskStates"] else "0"
        steps.note("stop by hand", "ours", text)
        assert "200" == steps.outcome(found)
        assert {"complete"} == {row["ClientStatus"] for row in not_stopped_by_a_test(serving)}
        assert 0 == len([pid for each in ours for pid in each.left])
        (balancer,) = serving.cluster.allocations(serving.id, "balancer")
        assert "0" == exit_codes(balancer, "nginx")[-1]


class TestUntilItsDeadline:
    """
    On `nomad agent -dev`, without ACLs.
    """

    def test_a_killed_balancer_keeps_the_deadline(self, ending: DockerJob) -> None:
        """
        Its container is killed: restarted in place, it keeps its deadline.
        """
        (container,) = containers.running(ending.balancer)
        began = time.monotonic()
        containers.docker("kill", container.id)
        eventually(lambda: len(ending.log_lines("deadline.set")) == 2, 20)
        eventually(lambda: ending.is_served_by(2), 20, 0.02)

        steps.note(
            "the balancer is killed", "ours", f"serves again after {time.monotonic() - began:.1f} s"
        )
        assert 1 == len({line["deadline"] for line in ending.log_lines("deadline.set")})

    def test_a_replaced_balancer_keeps_the_deadline(self, ending: DockerJob) -> None:
        """
        Its allocation is stopped: the allocation that Nomad places instead has the same deadline.
        """
        before = ending.balancer
        (deadline,) = {line["deadline"] for line in ending.log_lines("deadline.set", before)}
        ending.cluster.nomad("alloc", "stop", "-detach", before)
        eventually(lambda: ending.balancer != before and ending.log_lines("deadline.set"), 30)
        ending.await_serving(2)

        assert {deadline} == {line["deadline"] for line in ending.log_lines("deadline.set")}

    def test_everything_ends_at_the_deadline(self, ending: DockerJob) -> None:
        """
        Open requests complete; then every allocation is complete with exit code 0, and no container
        and no process is left.
        """
        ours = [each for row in ending.allocations() for each in containers.running(row["ID"])]
        ends = ending.log_lines("deadline.set")[0]
        assert len(ours) == 3
        thread, found = steps.slow_request(ending, ends["remaining"])
        ending.await_over(120)
        thread.join(20)
        (ended,) = ending.log_lines("ended")

        steps.note(
            "the deadline",
            "ours",
            f"{steps.outcome(found)} for an open request; {steps.endings(ending)}",
        )
        assert "200" == steps.outcome(found)
        assert ("deadline", 0) == (ended["reason"], ended["code"])
        assert {"complete"} == {row["ClientStatus"] for row in not_stopped_by_a_test(ending)}
        assert Counter({"0": 3}) == Counter(
            exit_codes(row, task)[-1]
            for row in ending.allocations()
            if row["DesiredStatus"] == "run"
            for task in row["TaskStates"]
            if task != "exec"
        )
        assert when(ended) - when(ends) >= ends["remaining"] - 1
        eventually(lambda: [] == [pid for each in ours for pid in each.left])
        eventually(
            lambda: [] == [c for row in ending.allocations() for c in containers.of(row["ID"])]
        )
        assert "dead" == ending.cluster.read(f"/v1/job/{ending.id}")["Status"]
