from collections.abc import Callable

import pytest

from tests.support.fake_nomad import FakeNomad
from tests.support.nomad_faults import with_index, without_blocking
from tests.support.replica import Replica
from tests.support.selection import slow
from tests.support.serving_subject import start_serving
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

#: Values of X-Nomad-Index that no server should send.
INDEXES = [None, "0", *map(slow, ["", "nonsense", "-5", "1.5", "9" * 30, "\xb2"])]

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]


def query_times(nomad: FakeNomad, seconds: float, since: int) -> list[float]:
    """
    Return the times of the queries within `seconds` of the query with number `since`.
    """
    eventually(lambda: len(nomad.requests) > since)
    start = nomad.requests[since].at
    eventually(lambda: nomad.requests[-1].at > start + seconds, seconds + 10)
    return [r.at for r in nomad.requests[since:] if r.at <= start + seconds]


@pytest.mark.parametrize("index", INDEXES)
def test_A08_an_invalid_index_causes_no_busy_loop(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, index: str | None
) -> None:
    """
    Without a valid index responses are still used, and queries start at most twice a second.
    """
    one, two = replicas("one", "two")
    subject = start_serving(supervise, one)
    count = len(nomad.requests)
    nomad.fault(with_index(index))
    assert len(query_times(nomad, 3.0, count)) <= 2 * 3 + 1
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text, 4)
    assert [] == subject.log_lines("discovery.failed")
    assert all("index" not in request.query for request in nomad.requests[count + 1 :])


def test_A08_an_index_that_goes_back_is_dropped(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    After a response with a lower index than the last one the next query has no index, and its
    response is used.
    """
    one, two = replicas("one", "two")
    subject = start_serving(supervise, one)
    nomad.index = 100
    nomad.bump()
    eventually(lambda: int(nomad.requests[-1].query.get("index", "0")) >= 100 and nomad.blocked, 40)
    count = len(nomad.requests)
    nomad.fault(with_index("7"), times=1)
    eventually(lambda: len(nomad.requests) >= count + 2)
    assert "index" not in nomad.requests[count].query, "a full refresh"
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text, 3)
    assert [] == subject.log_lines("discovery.failed")


@pytest.mark.slow
def test_A08_a_restored_registry_is_followed_again(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A query that is blocked while the registry is restored to a lower index is not ended by later
    changes; its short wait bounds the delay: the change is served after 32 s at most.
    """
    one, two = replicas("one", "two")
    nomad.index = 1000
    subject = start_serving(supervise, one)
    nomad.index = 5
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text, 34)
    eventually(lambda: int(nomad.requests[-1].query.get("index", "0")) < 100)


def test_A09_responses_that_never_block_are_rate_limited(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A Nomad that responds at once with the same index is queried at most twice a second after the
    first few quick responses; a change is still applied within a second.
    """
    one, two = replicas("one", "two")
    subject = start_serving(supervise, one)
    count = len(nomad.requests)
    nomad.fault(without_blocking())
    times = query_times(nomad, 6.0, count)
    assert len(times) <= 2 * 6 + 4
    later = [at for at in times if at > times[0] + 2]
    assert len(later) <= 2 * 4 + 1
    assert len(later) >= 4, "queries continue"
    assert 1 == len(subject.log_lines("reload.applied"))

    subject.offer(two)
    eventually(lambda: "two" == subject.get().text, 2)
