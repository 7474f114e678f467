"""
The deadline of a whole job, moved while it serves: by `extend`, by `nomad var put`, without the
right.
"""

import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.support import containers, steps
from tests.support.checkout import CHECKOUT
from tests.support.cluster import Cluster
from tests.support.demo_job import show
from tests.support.docker_job import DockerJob, exit_codes
from tests.support.docker_job import submitted as docker_job
from tests.support.job_variables import JOBS, in_seconds, replica
from tests.support.keepalive_traffic import KeepaliveTraffic
from tests.support.nomad_agent import why_no_nomad
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad()),
]

FILE = JOBS / "load-balancer-multi-group.nomad.hcl"
JOB = "load-balancer"
VARIABLE = f"nomad/jobs/{JOB}"


def at(text: str) -> float:
    """
    Return an instant of a job file in epoch seconds.
    """
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def typed(job: DockerJob, *words: str, balancer: str = "") -> "subprocess.CompletedProcess[str]":
    """
    Run a command in the balancer's container.
    """
    (container,) = containers.running(balancer or job.balancer)
    return subprocess.run(
        ["docker", "exec", container.id, "autoexit-nginx", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def permit(cluster: Cluster) -> None:
    """
    Apply the documented policy, as its header shows.
    """
    rules = (CHECKOUT / "jobs/extend.policy.hcl").read_text().replace("JOB", JOB)
    file = cluster.home / "extend.hcl"
    file.write_text(rules)
    words = ("-namespace", "default", "-job", JOB, f"{JOB}-extend", str(file))
    cluster.nomad("acl", "policy", "apply", *words)


@pytest.fixture(autouse=True)
def tidy(request: pytest.FixtureRequest) -> Iterator[None]:
    """
    Remove the variable and the policy that a test leaves.
    """
    yield
    for name in {"guarded", "laptop"}.intersection(request.fixturenames):
        cluster: Cluster = request.getfixturevalue(name)
        cluster.call("DELETE", f"/v1/var/{VARIABLE}")
        if cluster.token:
            cluster.call("DELETE", f"/v1/acl/policy/{JOB}-extend")


def all_ended_well(job: DockerJob, *, stopped: tuple[str, ...] = ()) -> None:
    """
    Wait until the job is over: every allocation is complete, and every task exited with 0.

    Nomad 1.10 shows an allocation that was `stopped` by `nomad alloc stop` as failed.
    """
    job.await_over(120)
    rows = [row for row in job.allocations() if row["ID"] not in stopped]
    show(f"{steps.endings(job)}")
    assert {"complete"} == {row["ClientStatus"] for row in rows}
    assert {"0"} == {
        exit_codes(row, task)[-1] for row in rows for task in row["TaskStates"] if task != "exec"
    }


def await_instant(epoch: float) -> None:
    """
    Wait until this instant.
    """
    eventually(lambda: time.time() >= epoch, max(1.0, epoch - time.time() + 5), 0.02)


def test_an_extension_ten_seconds_before_the_end(guarded: Cluster) -> None:
    """
    Without the policy nothing moves.  With it the job serves 60 s longer: no request fails under
    160 a second; a replica that is placed after the old deadline ends with the rest, and a request
    of 5 s, begun 2 s before the new one, gets 200.
    """
    deadline = in_seconds(55)
    with docker_job(guarded, FILE, JOB, deadline=deadline, drain_timeout="10s") as job:
        job.await_serving(2)
        refused = typed(job, "extend", "60s")
        assert (1, "") == (refused.returncode, refused.stdout)
        assert "nothing has moved" in refused.stderr
        assert "jobs/extend.policy.hcl" in refused.stderr
        permit(guarded)
        await_instant(at(deadline) - 10)
        with steps.job_traffic(job) as load:
            done = typed(job, "extend", "60s")
            assert done.stdout.startswith("balancer and 2 replicas until "), done.stderr
            await_instant(at(deadline) + 8)
            gone = job.running("replicas")[0]
            guarded.nomad("alloc", "stop", "-detach", gone)
            eventually(lambda: gone not in (left := job.running("replicas")) and len(left) == 2, 40)
            job.await_serving(2)
            await_instant(at(deadline) + 57.5)
        thread, found = steps.slow_request(job, 5.0)
        thread.join(20)
        all_ended_well(job, stopped=(gone,))
        (ended,) = job.log_lines("ended")

        show(f"extended by 60 s: {load.summary}; {steps.outcome(found)} for an open request")
        assert [] == load.failures
        assert load.per_second > 100
        assert "200" == steps.outcome(found)
        assert ("deadline", 0) == (ended["reason"], ended["connections_cut"])


def test_deepaas_is_extended_ten_seconds_before_the_end(laptop: Cluster) -> None:
    """
    Without ACLs no policy is needed: no request fails under 120 a second until the new deadline.
    """
    deadline = in_seconds(40)
    variables = {"deadline": deadline, "longest_request": "5s"}
    file = JOBS / "deepaas.nomad.hcl"
    job = DockerJob.run(laptop, file, "deepaas", {**replica(1.0), **variables})
    try:
        job.await_serving(2)
        await_instant(at(deadline) - 10)
        with KeepaliveTraffic(job.port, job.host, "/v2/models/", clients=3) as load:
            done = typed(job, "extend", "60s")
            await_instant(at(deadline) + 59.5)
        all_ended_well(job)

        show(f"deepaas, extended by 60 s: {load.summary}")
        assert done.stdout.startswith("balancer and 2 replicas until "), done.stderr
        assert [] == load.failures
    finally:
        laptop.stop_jobs()
        laptop.call("DELETE", "/v1/var/nomad/jobs/deepaas")


def test_a_variable_that_is_typed_by_hand(laptop: Cluster) -> None:
    """
    One of an earlier run changes nothing; `nomad var put` moves the whole job within a second.
    """
    old = ("deadline=2026-01-02T00:00:00Z", "planned=2026-01-01T00:00:00Z", "moved_by=extend")
    laptop.nomad("var", "put", "-force", VARIABLE, *old)
    with docker_job(laptop, FILE, JOB, deadline=in_seconds(3600), drain_timeout="10s") as job:
        job.await_serving(2)
        (line,) = eventually(lambda: job.log_lines("deadline.not_moved"))
        assert "of an earlier run" in line["reason"]
        end = in_seconds(12)
        laptop.nomad("var", "put", "-force", VARIABLE, f"deadline={end}")
        (moved,) = eventually(lambda: job.log_lines("deadline.moved"), 1.0, 0.02)
        assert end == moved["deadline"]
        with steps.job_traffic(job) as load:
            await_instant(at(end) - 2)
        thread, found = steps.slow_request(job, 5.0)
        thread.join(20)
        all_ended_well(job)

        assert [] == load.failures
        assert "200" == steps.outcome(found)
        assert time.time() < at(end) + 40


def test_a_stop_of_the_whole_job(laptop: Cluster) -> None:
    """
    The balancer drains first: a request in progress gets 200; then the replicas end, with 0.
    """
    with docker_job(laptop, FILE, JOB, deadline=in_seconds(3600), drain_timeout="10s") as job:
        job.await_serving(2)
        thread, found = steps.slow_request(job, 5.0)
        eventually(lambda: job.names(4))
        done = typed(job, "stop")
        thread.join(20)
        all_ended_well(job)
        (ended,) = job.log_lines("ended")

        assert "2 replicas of this job end after that" in done.stdout
        assert "200" == steps.outcome(found)
        assert "stop requested" == ended["reason"]


def test_the_server_is_away(guarded: Cluster) -> None:
    """
    Nothing changes; a move right after its return is followed by all.
    """
    permit(guarded)
    with docker_job(guarded, FILE, JOB, deadline=in_seconds(3600), drain_timeout="5s") as job:
        job.await_serving(2)
        balancer = job.balancer
        with steps.job_traffic(job) as load:
            guarded.server.stop()
            eventually(lambda: job.log_lines("job_deadline.failed", balancer), 10)
            refused = typed(job, "extend", "1h", balancer=balancer)
            guarded.server.start()
            guarded.await_server()
            assert [] == job.log_lines("deadline.moved", balancer)
            end = in_seconds(20)
            guarded.nomad("var", "put", "-force", VARIABLE, f"deadline={end}")
            moved = eventually(lambda: job.log_lines("deadline.moved", balancer), 10, 0.02)
            await_instant(at(end) - 0.5)
        all_ended_well(job)

        assert 1 == refused.returncode
        assert end == moved[0]["deadline"]
        assert [] == load.failures
