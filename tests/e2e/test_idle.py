"""
IDLE_TIMEOUT on a real agent: a job with two replicas that nobody uses ends as a whole.
"""

import json
import shutil
import time
from collections.abc import Iterator

import pytest

from tests.support.client import get
from tests.support.cluster import Cluster
from tests.support.nomad_agent import why_no_nomad
from tests.support.repeated import repeated
from tests.support.waiting import eventually, free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad()),
]

FILE = "tests/e2e/stop-job.nomad.hcl"
JOB = "stopped"

#: IDLE_TIMEOUT, and how much later the end may come: two looks, 1.5 s, and the job's stop.
TIMEOUT = 10.0
LATE = 10.0


@pytest.fixture
def agent() -> Iterator[Cluster]:
    """
    `nomad agent -dev`, with raw_exec.
    """
    with Cluster(split=False) as cluster:
        yield cluster


def test_a_job_that_nobody_uses_ends_as_a_whole(agent: Cluster) -> None:
    """
    One request a second keeps it for twice IDLE_TIMEOUT.  Then READY_PATH, metrics, status and page
    are read all the time: it ends by itself, every allocation `complete`, the balancer with 0.
    """
    port, admin = free_port(), free_port()
    variables = ("ttl=10m", f"port={port}", f"idle_timeout={TIMEOUT:g}s", f"admin_port={admin}")
    agent.nomad("job", "run", "-detach", *(f"-var={each}" for each in variables), FILE)
    try:
        allocation = eventually(lambda: agent.allocations(JOB, "balancer"), 20)[-1]["ID"]
        eventually(lambda: 200 == _status(port), 30, 0.05, "a response of a replica")
        with repeated(lambda: get(port), 1.0):
            began = time.monotonic()
            eventually(lambda: time.monotonic() - began > 2 * TIMEOUT, 2 * TIMEOUT + 2)
        assert {"running"} == {row["ClientStatus"] for row in agent.allocations(JOB)}

        since = time.monotonic()
        with (
            repeated(lambda: get(port, "/-/ready"), 0.3),
            repeated(lambda: get(admin, "/metrics"), 0.5),
            repeated(lambda: get(admin, "/status"), 0.5),
            repeated(lambda: get(admin, "/"), 1.0),
        ):
            eventually(
                lambda: {"complete"} == {r["ClientStatus"] for r in agent.allocations(JOB)},
                TIMEOUT + LATE + 20,
            )
        took = time.monotonic() - since

        assert TIMEOUT - 1 < took < TIMEOUT + LATE
        assert 3 == len(agent.allocations(JOB))
        (ended,) = [line for line in agent.log_of(allocation, "nginx") if "ended" == line["event"]]
        assert ("idle", 0) == (ended["reason"], ended["code"])
        folder = agent.allocations_dir / allocation / "alloc/data/autoexit-nginx/nginx"
        assert "idle" == json.loads((folder / "ended.json").read_text())["reason"]
    finally:
        agent.nomad("job", "stop", "-purge", "-detach", JOB)
        shutil.rmtree(f"/run/autoexit-nginx/{port}", ignore_errors=True)


def _status(port: int) -> int:
    try:
        return get(port).status
    except OSError:
        return 0
