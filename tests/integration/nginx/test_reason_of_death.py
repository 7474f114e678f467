"""
What the log gives as the reason when nginx's master dies.
"""

import os
import signal
from collections.abc import Callable

from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]


def test_a_death_is_not_explained_by_the_error_of_a_request(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    A replica refused a client's request a moment ago; the killed master gave no reason.
    """
    (one,) = replicas("one")
    subject = supervise(pid1=False, HEALTH_CHECK="off", START_WAIT="5s")
    subject.offer(one)
    subject.ready(status=200)
    one.stop()
    assert 502 == subject.get("/?key=secret").status
    refused = eventually(lambda: subject.log_lines("nginx.output", level="error"))
    assert "key=secret" in refused[-1]["text"]
    master = subject.nginx_master()
    assert master
    os.kill(master, signal.SIGKILL)

    line = subject.wait_for_log("nginx.died", code=137)
    assert "message" not in line
