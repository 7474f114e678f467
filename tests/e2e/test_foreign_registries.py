"""
jobs/consul.nomad.hcl and jobs/traefik.nomad.hcl.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import containers, steps
from tests.support.checkout import CHECKOUT
from tests.support.client import get
from tests.support.cluster import Cluster
from tests.support.demo_job import show
from tests.support.docker_job import DockerJob, submitted
from tests.support.job_variables import JOBS, in_seconds, replica
from tests.support.nomad_agent import why_no_nomad
from tests.support.waiting import eventually, free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad()),
]


#: A template block inside a task, and the one that the page about migrating shows.
_TEMPLATE = re.compile(r"^( *)template \{\n.*?^\1\}\n", re.MULTILINE | re.DOTALL)
_MIGRATING = CHECKOUT / "docs" / "migrating.md"


def template_of_the_page() -> str:
    """
    Return the template block that the page about migrating shows, for this job's service.
    """
    _, _, section = _MIGRATING.read_text().partition("### Keep a template\n")
    found = _TEMPLATE.search(section)
    assert found
    return found[0].replace("demo-back", "${var.service}")


@pytest.mark.parametrize("page", [False, True], ids=["the job", "the page"])
def test_consul_without_consul(laptop: Cluster, tmp_path: Path, *, page: bool) -> None:
    """
    Changes of the file that Nomad's template writes reach nginx without a signal or a query to
    Nomad, in time for a scale-down without a lost request.

    No Consul runs here: the file is unchanged but for the registry, Nomad's instead of Consul's,
    and for its template, which is also that of the page about migrating.
    """
    text = (JOBS / "consul.nomad.hcl").read_text()
    if page:
        shown = template_of_the_page()
        text, count = _TEMPLATE.subn(lambda _: shown, text)
        assert 1 == count
    changed, count = re.subn(r'provider = "consul"', 'provider = "nomad"', text)
    changed, other = re.subn(r'range service "', 'range nomadService "', changed)
    assert (1, 1) == (count, other)
    file = tmp_path / "consul.nomad.hcl"
    file.write_text(changed)

    variables = {"deadline": in_seconds(300), "drain_timeout": "2s"}
    with submitted(laptop, file, "consul", **variables) as job:
        job.await_serving(2)
        with steps.job_traffic(job) as load:
            eventually(lambda: len(load.sent) > 100)
            job.scale(3)
            eventually(lambda: "replica2" in load.names, 30)
            job.scale(2)
            job.await_running(2)
        (started,) = eventually(lambda: job.log_lines("supervisor.started"))

        show(f"template: {load.summary}")
        assert [] == load.failures
        assert "nomad" not in started


@pytest.fixture
def traefik(laptop: Cluster, tmp_path: Path) -> Iterator[int]:
    """
    Traefik, which polls this Nomad every second; yields its port.
    """
    binary = shutil.which("traefik")
    if not binary:
        pytest.skip("no traefik on PATH; the file is validated")
    port, ping = free_port(), free_port()
    words = [
        f"--entrypoints.web.address=:{port}",
        f"--entrypoints.traefik.address=127.0.0.1:{ping}",
        "--ping=true",
        "--providers.nomad=true",
        "--providers.nomad.exposedByDefault=false",
        "--providers.nomad.refreshInterval=1s",
        f"--providers.nomad.endpoint.address=http://127.0.0.1:{laptop.server.port}",
    ]
    with (tmp_path / "traefik.log").open("wb") as log:
        process = subprocess.Popen([binary, *words], stdout=log, stderr=log, cwd=tmp_path)
        try:
            eventually(lambda: get(ping, "/ping").status == 200, 20)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def test_traefik_finds_the_balancer(laptop: Cluster, traefik: int) -> None:
    """
    Every replica responds through Traefik and the balancer; at the deadline there is no 502.
    """
    variables = {"deadline": in_seconds(35), "drain_timeout": "2s", "host": "model.example.org"}
    variables |= {"exec_from": "image"}
    file = JOBS / "traefik.nomad.hcl"
    every = {**replica(1.0), "health_path": "/", "image": containers.image(), **variables}
    words = [f"-var={name}={value}" for name, value in every.items()]
    laptop.nomad("job", "run", "-detach", *words, str(file))
    job = DockerJob(laptop, "traefik", traefik)
    headers = {"Host": "model.example.org"}
    try:

        def names() -> set[str]:
            answers = [get(traefik, headers=headers) for _ in range(12)]
            return {a.text for a in answers if a.status == 200}

        assert {"replica0", "replica1"} == eventually(
            lambda: found if len(found := names()) == 2 else set(), 40, 0.2
        )
        assert 404 == get(traefik).status
        seen = []

        def over() -> bool:
            seen.append(get(traefik, headers=headers).status)
            return all(row["ClientStatus"] == "complete" for row in job.allocations())

        eventually(over, 60, 0.05)
        show(f"through Traefik until the end: {sorted(set(seen))}")
        assert 502 not in seen
        assert {("complete", "0")} == set(job.endings)
    finally:
        laptop.stop_jobs()
