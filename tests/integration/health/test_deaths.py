"""
Replicas that die: nginx's own failed connections make the prober look at once.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.flapping import LoadingReplica
from tests.support.nginxes import BOTH
from tests.support.selection import slow
from tests.support.supervised import Supervised
from tests.support.traffic import Outcome, Traffic
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]

nginxes = pytest.mark.parametrize("nginx", BOTH)

#: Goal: how long after the deaths a request may still fail, in seconds.
LIMIT = 0.5


@pytest.fixture
def processes() -> Iterator[list[LoadingReplica]]:
    """
    Four replicas, each a process of its own, which listen.
    """
    with ExitStack() as stack:
        started = [LoadingReplica(name, 0.0).start() for name in "abcd"]
        for each in started:
            stack.callback(each.kill)
        for each in started:
            eventually(lambda each=each: each.listens)
        yield started


def losses(traffic: list[Traffic], since: float, record: Callable[..., None]) -> list[Outcome]:
    """
    Return the failed requests that were sent later than the limit after an instant.
    """
    failed = [failure for each in traffic for failure in each.failures]
    total = sum(len(each.outcomes) for each in traffic)
    late = [each for each in failed if each.at > since + LIMIT]
    last = max((each.at + each.took - since for each in failed), default=0.0)
    record("lost", f"{len(failed)} of {total}, the last after {last:.2f} s; {len(late)} late")
    return late


@nginxes
@pytest.mark.parametrize(
    "case", [slow((2, "2"), id="2 of 2"), (2, "5"), slow((3, "2"), id="3 of 2")], ids=str
)
def test_no_get_is_lost_half_a_second_after_deaths(
    supervise: Supervise,
    processes: list[LoadingReplica],
    record_property: Callable[..., None],
    nginx: str,
    case: tuple[int, str],
) -> None:
    """
    Of four replicas under 200 GETs a second one, two or three are killed at the same time: what is
    sent later than 0.5 s after that is answered, whatever HEALTH_INTERVAL and HEALTH_FALL are.
    """
    deaths, fall = case
    subject = supervise(pid1=False, NGINX_BINARY=nginx, START_WAIT="5s", HEALTH_FALL=fall)
    subject.offer(*(each.endpoint for each in processes))
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve", endpoints=4)
    with ExitStack() as stack:
        traffic = [stack.enter_context(Traffic(subject.port, every=0.018)) for _ in range(4)]
        eventually(lambda: all(len(each.outcomes) > 50 for each in traffic))
        for each in processes[:deaths]:
            each.kill()
        died = time.monotonic()
        eventually(lambda: all(each.outcomes[-1].at > died + 3.0 for each in traffic), 20)
    assert [] == losses(traffic, died, record_property)
    left = {each.name for each in processes[deaths:]}
    assert left == {o.name for each in traffic for o in each.outcomes if o.at > died + LIMIT}
