"""
RETRY_POST with a real agent: replicas that die under load, behind Docker's port proxies.

For a moment the proxy of a dead container accepts connections and resets them, so that POSTs are
lost that were sent to it right after its death, too.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.support import containers
from tests.support.cluster import Cluster
from tests.support.demo_job import show
from tests.support.docker_job import DockerJob, submitted
from tests.support.job_variables import JOBS
from tests.support.keepalive_traffic import KeepaliveTraffic
from tests.support.nomad_agent import why_no_nomad
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad()),
]

FILE = JOBS / "load-balancer-multi-group.nomad.hcl"
REPLICAS = 4

#: Each ends a replica at once. The first two kill it, the third stops its allocation.
WAYS = ("docker kill", "nomad alloc signal", "nomad alloc stop") * 2

#: nginx's lines about a replica that accepted a connection and broke it before its response. What
#: fails "while connecting to upstream" was not sent, and is repeated in any case.
_BROKEN = re.compile(
    r"(\w+\(\) failed|upstream prematurely closed connection)[^,]*"
    r" while (?:sending request to|reading response header from) upstream"
)


def with_setting(file: Path, line: str) -> Path:
    """
    Write the job file with a further setting of the balancer.
    """
    text, count = re.subn(
        r"^( +)HEALTH_PATH .*\n", rf"\g<0>\g<1>{line}\n", FILE.read_text(), flags=re.MULTILINE
    )
    assert 1 == count
    file.write_text(text)
    return file


def end_one(job: DockerJob, way: str, number: int) -> None:
    """
    End one replica, and wait until as many as before respond again.
    """
    allocation = job.running("replicas")[number % REPLICAS]
    (victim,) = containers.running(allocation)
    match way:
        case "docker kill":
            containers.docker("kill", victim.id)
        case "nomad alloc signal":
            job.cluster.nomad("alloc", "signal", "-s", "SIGKILL", allocation, "replica")
        case _:
            job.cluster.nomad("alloc", "stop", "-detach", "-no-shutdown-delay", allocation)
    eventually(lambda: not victim.left, 20)
    job.await_running(REPLICAS)
    job.await_serving(REPLICAS)


def broken_posts(job: DockerJob) -> Counter[str]:
    """
    Return how nginx lost the connections of POSTs to replicas, with counts.

    Nomad's follower of Docker's logs writes up to a second of lines twice when it starts again.
    """
    texts = {line["text"] for line in job.log_lines("nginx.output") if '"POST ' in line["text"]}
    return Counter(found[1] for text in texts if (found := _BROKEN.search(text)))


@pytest.mark.parametrize("setting", ["true", "false"])
def test_replicas_that_die_cost_no_post(guarded: Cluster, tmp_path: Path, setting: str) -> None:
    """
    Of four replicas six end at once, one after the other, under GETs and POSTs of 0.1 s: with
    RETRY_POST every request is answered, though connections of POSTs broke; without it only POSTs
    are lost.
    """
    file = with_setting(tmp_path / FILE.name, f'RETRY_POST = "{setting}"')
    with submitted(guarded, file, "load-balancer", count=str(REPLICAS)) as job:
        job.await_serving(REPLICAS)
        path = "/slow?seconds=0.1"
        with KeepaliveTraffic(job.port, job.host, path, clients=8, rate=8.0) as load:
            eventually(lambda: len(load.sent) > 200)
            for number, way in enumerate(WAYS):
                end_one(job, way, number)
        ours = [row["ID"] for row in job.allocations()]
        broken = broken_posts(job)
        posts = sum(each.method == "POST" for each in load.sent)

        show(f"RETRY_POST={setting}: {load.summary}; {posts} POSTs, broken: {dict(broken)}")
        assert {each.method for each in load.failures} == (set() if setting == "true" else {"POST"})
        assert broken
    assert [] == [each for row in ours for each in containers.of(row, ended=False)]
