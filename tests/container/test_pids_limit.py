"""
The image under a tight limit of processes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.client import get
from tests.support.container import Container
from tests.support.engine import IMAGE, run_engine
from tests.support.job_variables import REPLICA
from tests.support.waiting import eventually

Contain = Callable[..., Container]

ENDPOINT = "127.0.0.1:5000"

#: Goal for the time from the first ready replica to its first response, in seconds.
LIMIT = 5.0


@contextmanager
def replica_beside(container: Container) -> Iterator[str]:
    """
    Run a replica in a container of its own, without a limit, in the network of the other.
    """
    name = f"{container.name}-replica"
    network = ("--network", f"container:{container.name}", "--entrypoint", "python3")
    started = run_engine("run", "--detach", "--name", name, *network, IMAGE, "-c", REPLICA)
    assert started.returncode == 0, started.stderr
    try:
        yield name
    finally:
        run_engine("rm", "--force", name)


@pytest.mark.parametrize("limit", [12, 13, 14, 15, 20])
def test_a_replica_that_becomes_ready_later_is_served(contain: Contain, limit: int) -> None:
    """
    Where two sets of workers do not fit, nginx has fewer workers, and is restarted instead of
    reloaded as long as nothing is served: the first replica is served, and so is the next one after
    it has failed.
    """
    options = ("--no-healthcheck", "--pids-limit", str(limit))
    container = contain(options=options, ENDPOINTS=ENDPOINT, HEALTH_FAIL_OPEN="false")
    assert 503 == container.answers().status
    port = container.port

    def served() -> bool:
        return "replica" == get(port, timeout=2).text

    for _ in range(2):
        with replica_beside(container):
            eventually(served, LIMIT, what=lambda: f"the replica\n{container.lines}")
    assert [] == container.log_lines("nginx.died")
