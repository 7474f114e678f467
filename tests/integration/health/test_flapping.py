"""
Replicas that are listed before they listen, crash, and restart.
"""

import os
from collections.abc import Callable

import pytest

from tests.support.flapping import Client, classify, replicas, run_scenario
from tests.support.selection import slow
from tests.support.subjects import Old
from tests.support.supervised import Supervised

#: The full scenario is `FLAPS=10 LOAD=10`; the benchmarks run it with 2 and with 4 replicas.
FLAPS = int(os.environ.get("FLAPS", "3"))
LOAD = float(os.environ.get("LOAD", "1"))

#: From the start of a listener, in seconds: a probe, and a reload.
READY_WITHIN = 0.5


@pytest.mark.parametrize("count", [2, slow(4)])
@pytest.mark.timeout(600)
def test_clients_receive_only_responses_of_replicas_and_starting(
    supervise: Callable[..., Supervised], count: int
) -> None:
    """
    Before the first replica listens every response is 503 `starting`, later every response is 200,
    though one replica crashes and restarts repeatedly; only a request in flight at a crash may be
    lost.
    """
    with replicas(count, LOAD) as processes:
        subject = supervise(pid1=False)
        subject.offer(*[each.endpoint for each in processes])
        subject.ready(status=503)
        with Client(subject.port) as client:
            timeline = run_scenario(processes, FLAPS, LOAD, serve=1.0)
    seen = classify(client, timeline, READY_WITHIN)

    assert set(seen) <= {"served", "starting", "in flight"}, (seen, subject.recent_output)
    assert seen["served"] > 10 * FLAPS
    assert seen["starting"]
    assert seen["in flight"] <= FLAPS


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_plain_nginx_loses_requests(supervise: Callable[..., Supervised]) -> None:
    """
    The same scenario with a handwritten configuration shows that the test above detects failures.
    """
    with replicas(2, LOAD) as processes:
        subject = supervise(pid1=False, subject=Old())
        subject.ready(status=502)  # a SIGHUP before nginx runs would end it
        subject.offer(*[each.endpoint for each in processes])
        with Client(subject.port) as client:
            timeline = run_scenario(processes, FLAPS, LOAD, serve=1.0)
    seen = classify(client, timeline, READY_WITHIN)

    assert seen["early 502"]
