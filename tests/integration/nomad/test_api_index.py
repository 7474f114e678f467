from collections.abc import Callable

import pytest

from tests.support.fake_nomad import FakeNomad
from tests.support.nomad_faults import at_once, index_says
from tests.support.replica import Replica
from tests.support.serving_subject import start_serving
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]


def asked_in(nomad: FakeNomad, seconds: float, since: int) -> list[float]:
    """
    Return when queries came in so many seconds, counted from the query of this number on.
    """
    eventually(lambda: len(nomad.requests) > since)
    began = nomad.requests[since].at
    eventually(lambda: nomad.requests[-1].at > began + seconds, seconds + 10)
    return [r.at for r in nomad.requests[since:] if r.at <= began + seconds]


@pytest.mark.parametrize("says", [None, "0", "", "nonsense", "-5", "1.5", "9" * 30, "\xb2"])
def test_A08_an_index_that_is_none_makes_no_busy_loop(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, says: str | None
) -> None:
    """
    Without an index that is one, answers are still taken, and are asked for at most twice a second.
    """
    one, two = replicas("one", "two")
    subject = start_serving(supervise, one)
    asked = len(nomad.requests)
    nomad.fault(index_says(says))
    assert len(asked_in(nomad, 3.0, asked)) <= 2 * 3 + 1
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text, 4)
    assert [] == subject.log_lines("discovery.failed")
    assert all("index" not in request.query for request in nomad.requests[asked + 1 :])


def test_A08_an_index_that_goes_back_is_forgotten(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    An answer under a lower index than the last one sends the next query back to the beginning,
    whose answer counts in full.
    """
    one, two = replicas("one", "two")
    subject = start_serving(supervise, one)
    nomad.index = 100
    nomad.bump()
    eventually(lambda: int(nomad.requests[-1].query.get("index", "0")) >= 100 and nomad.blocked, 40)
    asked = len(nomad.requests)
    nomad.fault(index_says("7"), times=1)
    eventually(lambda: len(nomad.requests) >= asked + 2)
    assert "index" not in nomad.requests[asked].query, "a full refresh"
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text, 3)
    assert [] == subject.log_lines("discovery.failed")


@pytest.mark.slow
def test_A08_a_restored_registry_is_heard_again(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A query that is open while the registry is restored to a lower index is not woken by what
    changes then; a short wait bounds that: the change is served after 32 s at most.
    """
    one, two = replicas("one", "two")
    nomad.index = 1000
    subject = start_serving(supervise, one)
    nomad.index = 5
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text, 34)
    eventually(lambda: int(nomad.requests[-1].query.get("index", "0")) < 100)


def test_A09_answers_that_never_block_are_rate_limited(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A Nomad that answers at once under the same index is asked at most twice a second once the
    first few quick answers are used up; a change is still seen within a second.
    """
    one, two = replicas("one", "two")
    subject = start_serving(supervise, one)
    asked = len(nomad.requests)
    nomad.fault(at_once())
    times = asked_in(nomad, 6.0, asked)
    assert len(times) <= 2 * 6 + 4
    calm = [at for at in times if at > times[0] + 2]
    assert len(calm) <= 2 * 4 + 1
    assert len(calm) >= 4, "it goes on asking"
    assert 1 == len(subject.log_lines("reload.applied"))

    subject.offer(two)
    eventually(lambda: "two" == subject.get().text, 2)
