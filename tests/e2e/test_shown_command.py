"""
The command that the page and the status show, run as it is shown, for a group with several tasks.
"""

import shlex
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.support import small_jobs
from tests.support.cluster import Cluster
from tests.support.demo_job import show
from tests.support.nomad_agent import why_no_nomad
from tests.support.small_jobs import Balancer, Service
from tests.support.status_page import StatusPage, chromium, why_no_chromium
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad()),
]

SERVER = """
from http.server import *
ThreadingHTTPServer(("", {port}), SimpleHTTPRequestHandler).serve_forever()
"""


@pytest.fixture
def balancer() -> Iterator[Balancer]:
    """
    A balancer that shares its group with another task, the first of the two.
    """
    with Cluster(split=False) as cluster:
        found = small_jobs.run(
            cluster,
            Service("web", SERVER),
            name="tasks",
            ports={"http": 0, "admin": 0},
            sidecar=True,
            SERVICE_NAME="web",
        )
        eventually(lambda: found.status["ready"], 30, 0.2)
        yield found


def deadline(balancer: Balancer) -> datetime:
    """
    Return the deadline in the status.
    """
    return datetime.fromisoformat(balancer.status["deadline"]["at"])


def run(balancer: Balancer, command: str) -> str:
    """
    Run a `nomad` command as it is shown, and return its output.
    """
    program, *words = shlex.split(command)
    assert "nomad" == program
    return balancer.cluster.nomad(*words)


def test_the_status_shows_a_command_that_works(balancer: Balancer) -> None:
    """
    Its `extend` moves the deadline and its `status` prints the new one.  It names the task because
    Nomad refuses to choose one of two, and the whole path of the program, which is not on PATH.
    """
    command = balancer.status["instance"]["command"]
    show(command)
    before = deadline(balancer)
    run(balancer, f"{command} extend 1h")
    assert 3600 == (deadline(balancer) - before).total_seconds()
    assert "deadline moved" in run(balancer, f"{command} status")
    with pytest.raises(AssertionError, match="task"):
        run(balancer, f"{command} status".replace("-task nginx ", ""))


@pytest.mark.skipif(bool(why_no_chromium()), reason=why_no_chromium())
def test_the_page_shows_a_command_that_works(balancer: Balancer) -> None:
    """
    The text that a person copies from the browser, and nothing else, moves the deadline by an hour.
    """
    before = deadline(balancer)
    with chromium() as browser:
        window = StatusPage(browser, balancer.port_of("admin")).open()
        window["control"].locator("summary").click()
        command = window.text("from-outside")
        show(command)
        run(balancer, command)
        assert 3600 == (deadline(balancer) - before).total_seconds()
        window.close()
