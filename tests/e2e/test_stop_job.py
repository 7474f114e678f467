"""
AT_DEADLINE=stop-job on real agents: the whole job ends with its balancer.
"""

import shlex
import shutil
import time
from collections.abc import Iterator
from typing import Self

import psutil
import pytest

from tests.support.client import get
from tests.support.cluster import Cluster, Row
from tests.support.demo_job import show, when
from tests.support.nomad_agent import why_no_nomad
from tests.support.traffic import Traffic
from tests.support.waiting import eventually, free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad()),
]

FILE = "tests/e2e/stop-job.nomad.hcl"
JOB = "stopped"

#: The instructions in the balancer's log line without the required capability.
INSTRUCTIONS = {
    "policy": 'namespace "default" { capabilities = ["deregister-job"] }',
    "policy_before_2_0": 'namespace "default" { capabilities = ["submit-job"] }',
    "apply": f"nomad acl policy apply -namespace default -job {JOB} NAME file.hcl",
}


class Running:
    """
    The job, or a dispatched instance of it, with both replicas served.
    """

    def __init__(
        self, cluster: Cluster, *, ttl: str = "8s", kind: str = "batch", dispatched: bool = False
    ) -> None:
        self.cluster = cluster
        self.port = free_port()
        self.id = JOB
        variables = [f"-var=ttl={ttl}", f"-var=port={self.port}", f"-var=type={kind}"]
        variables += ["-var=parameterized=true"] if dispatched else []
        self.cluster.nomad("job", "run", "-detach", *variables, FILE)
        if dispatched:
            output = self.cluster.nomad("job", "dispatch", "-detach", JOB)
            self.id = next(word for word in output.split() if word.startswith(f"{JOB}/dispatch-"))
        self.allocation = eventually(self._balancers, 20)[-1]["ID"]
        eventually(lambda: 200 == self._status(), 20, 0.05, "a response of a replica")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.stop_jobs()
        self.cluster.nomad("job", "stop", "-purge", "-detach", JOB)
        shutil.rmtree(f"/run/autoexit-nginx/{self.port}", ignore_errors=True)

    @property
    def allocations(self) -> list[Row]:
        """
        All allocations of the job.
        """
        return self.cluster.allocations(self.id)

    @property
    def balancer(self) -> Row:
        """
        The balancer's allocation, as Nomad reports it now.
        """
        return next(row for row in self.allocations if row["ID"] == self.allocation)

    def log_lines(self, event: str) -> list[Row]:
        """
        Return the balancer's log lines of this event.
        """
        lines = self.cluster.log_of(self.allocation, "nginx")
        return [line for line in lines if line["event"] == event]

    def exit_code(self) -> str:
        """
        Wait until the balancer exits and return the exit code that Nomad reports.
        """
        eventually(lambda: self.balancer["ClientStatus"] != "running", 60, 0.05)
        events = self.balancer["TaskStates"]["nginx"]["Events"]
        (terminated,) = [event for event in events if event["Type"] == "Terminated"]
        return str(terminated["Details"]["exit_code"])

    def processes(self) -> list[psutil.Process]:
        """
        Return all processes that were started for the job.
        """
        folder = str(self.cluster.allocations_dir)
        return [
            process
            for process in psutil.process_iter()
            if _environ(process).get("NOMAD_JOB_ID") == self.id
            and _environ(process).get("NOMAD_ALLOC_DIR", "").startswith(folder)
        ]

    def assert_complete(self) -> None:
        """
        Assert that every allocation is complete and that nothing is left.
        """
        eventually(lambda: {"complete"} == {r["ClientStatus"] for r in self.allocations}, 30, 0.05)
        job = self.cluster.read(f"/v1/job/{self.id}")
        assert ("dead", True) == (job["Status"], job["Stop"])
        assert 3 == len(self.allocations)
        assert "0" == self.exit_code()
        eventually(lambda: [] == self.processes(), 5)
        assert [] == self.cluster.instances("stopped-replicas")

    def _balancers(self) -> list[Row]:
        rows = self.cluster.allocations(self.id, "balancer")
        return [row for row in rows if row["ClientStatus"] == "running"]

    def _status(self) -> int:
        try:
            return get(self.port).status
        except OSError:
            return 0


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        found: dict[str, str] = process.environ()
    except psutil.Error:
        return {}
    return found


@pytest.fixture(scope="module")
def opened() -> Iterator[Cluster]:
    """
    A Nomad without ACLs.
    """
    with Cluster(split=False) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def guarded() -> Iterator[Cluster]:
    """
    A Nomad with ACLs, where a workload may only read services.
    """
    with Cluster(split=True, acl=True) as cluster:
        yield cluster


def test_the_whole_job_stops_at_the_deadline(opened: Cluster) -> None:
    """
    Every allocation is complete, the job dead, no process left; no request failed until the stop.
    """
    with Running(opened) as job:
        with Traffic(job.port, every=0.01) as traffic:
            eventually(lambda: job.log_lines("job.stop_requested"), 20)
        job.assert_complete()

        (requested,), (draining,), (ended,) = map(
            job.log_lines, ("job.stop_requested", "draining", "ended")
        )
        show(f"request -> signal {when(draining) - when(requested):.3f} s; {ended}")
        stopped_at = when(draining) - time.time() + time.monotonic()
        assert [] == [bad for bad in traffic.failures if bad.at + bad.took < stopped_at]
        assert len(traffic.outcomes) > 100
        assert ("deadline", 0, False) == (
            ended["reason"],
            ended["code"],
            ended["ended_alone"],
        )


def test_a_service_job_stops_as_well(opened: Cluster) -> None:
    """
    In a service job exit code 0 alone would mean a restart: after the stop signal it is complete.
    """
    with Running(opened, kind="service") as job:
        job.assert_complete()
        assert 0 == job.balancer["TaskStates"]["nginx"]["Restarts"]


def test_without_the_capability_it_exits_alone_and_logs_the_policy(guarded: Cluster) -> None:
    """
    The balancer is complete with 0, the replicas keep running.  The policy and command in its log
    are sufficient for the next run.
    """
    with Running(guarded) as job:
        assert "0" == job.exit_code()
        (line,) = job.log_lines("job.not_stopped")
        (ended,) = job.log_lines("ended")
        show(f"{line}")
        running = [row["TaskGroup"] for row in job.allocations if row["ClientStatus"] == "running"]
        assert ["replicas", "replicas"] == running
        assert "complete" == job.balancer["ClientStatus"]
        assert "Nomad rejected the token (403)" == line["reason"]
        assert True is ended["ended_alone"]
        assert line.items() >= INSTRUCTIONS.items()

    allow(guarded, line)
    with Running(guarded) as job:
        job.assert_complete()
        assert [] == job.log_lines("job.not_stopped")


def test_a_dispatched_job_stops_as_well(guarded: Cluster) -> None:
    """
    Its ID contains a slash, and the policy is bound to its parent, as in the balancer's log; the
    parent stays.
    """
    allow(guarded, INSTRUCTIONS)
    with Running(guarded, dispatched=True) as job:
        job.assert_complete()
        assert "running" == guarded.read(f"/v1/job/{JOB}")["Status"]


def test_an_agent_that_restarts_over_the_deadline(guarded: Cluster) -> None:
    """
    The agent is stopped at the time of the request and comes back: the job still stops.
    """
    allow(guarded, INSTRUCTIONS)
    client = guarded.agents[-1]
    with Running(guarded, ttl="12s") as job:
        client.stop()
        (requested,) = eventually(lambda: job.log_lines("job.stop_requested"), 20)
        stopped_at = time.time()
        eventually(lambda: time.time() > stopped_at + 3, what="three more seconds")
        assert 200 == get(job.port).status
        client.start()
        job.assert_complete()

        (accepted,) = job.log_lines("job.stop_accepted")
        show(f"requested -> accepted {when(accepted) - when(requested):.1f} s; {accepted}")
        assert accepted["tries"] > 2
        assert [] == job.log_lines("job.not_stopped")


def allow(cluster: Cluster, line: Row) -> None:
    """
    Apply the policy as the balancer's log line says, for this release of Nomad.
    """
    file = cluster.home / "file.hcl"
    nomad, *words = shlex.split(line["apply"].replace("file.hcl", str(file)))
    assert "nomad" == nomad
    newer = cluster.call("PUT", "/v1/acl/policy/unused", {"Name": "u", "Rules": line["policy"]})
    file.write_text(line["policy" if newer.status == 200 else "policy_before_2_0"])
    cluster.nomad(*words)
