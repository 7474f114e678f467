"""
Replicas that are listed before they listen, die, and come back.
"""

import os
from collections.abc import Callable

import pytest

from tests.support.flapping import Client, judged, replicas, tell
from tests.support.subjects import Old
from tests.support.supervised import Supervised

#: The whole story is `FLAPS=10 LOAD=10`; the benchmarks tell it at 2 and at 4 replicas.
FLAPS = int(os.environ.get("FLAPS", "3"))
LOAD = float(os.environ.get("LOAD", "1"))

#: From the moment a replica listens: a probe, and a reload.
READY_WITHIN = 0.5


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.timeout(600)
def test_clients_see_nothing_but_answers_and_starting(
    supervise: Callable[..., Supervised], count: int
) -> None:
    """
    Before the first replica listens every answer is 503 `starting`, from then on every answer is
    200, though one of them dies and comes back again and again; the request that is on its way to
    who dies is nobody's to save.
    """
    with replicas(count, LOAD) as loaders:
        subject = supervise(pid1=False)
        subject.offer(*[each.endpoint for each in loaders])
        subject.ready(status=503)
        with Client(subject.port) as client:
            story = tell(loaders, FLAPS, LOAD, serve=1.0)
    seen = judged(client, story, READY_WITHIN)

    assert set(seen) <= {"served", "starting", "in flight"}, (seen, subject.recent_output)
    assert seen["served"] > 10 * FLAPS
    assert seen["starting"]
    assert seen["in flight"] <= FLAPS


@pytest.mark.timeout(600)
def test_a_plain_nginx_loses_requests_there(supervise: Callable[..., Supervised]) -> None:
    """
    The same story with a configuration as it is written by hand: else the test above shows nothing.
    """
    with replicas(2, LOAD) as loaders:
        subject = supervise(pid1=False, subject=Old())
        subject.offer(*[each.endpoint for each in loaders])
        with Client(subject.port) as client:
            story = tell(loaders, FLAPS, LOAD, serve=1.0)
    seen = judged(client, story, READY_WITHIN)

    assert seen["early 502"]
