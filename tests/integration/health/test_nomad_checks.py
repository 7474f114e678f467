"""
HEALTH_CHECK=nomad: Nomad's own checks decide, and TCP where they do not tell.
"""

import pytest

from supervisor.core.model import HealthState
from tests.support import nomad_faults as faults
from tests.support.fake_nomad import TOKEN, FakeNomad
from tests.support.probing import Probed
from tests.support.replica import Replica
from tests.support.waiting import eventually, free_port

READY, SLOW, FAILING = HealthState.READY, HealthState.SLOW, HealthState.FAILING
STARTING = HealthState.STARTING


def follow(nomad: FakeNomad, **environ: str) -> Probed:
    """Probe by what Nomad says, five times a second."""
    return Probed(
        HEALTH_CHECK="nomad",
        HEALTH_INTERVAL="200ms",
        NOMAD_ADDR=nomad.address,
        NOMAD_JOB_ID="balancer",
        **environ,
    )


def listed(nomad: FakeNomad, endpoint: tuple[str, int]) -> str:
    """List an endpoint as the only instance, and return its allocation."""
    nomad.set("web", [endpoint])
    return nomad.allocation("web", endpoint[1])


@pytest.fixture
def nowhere() -> tuple[str, int]:
    """
    An endpoint where nobody listens, so that only Nomad can call it ready.
    """
    return ("127.0.0.1", free_port())


def test_the_checks_decide(nomad: FakeNomad, nowhere: tuple[str, int]) -> None:
    """
    Pending is not ready, all of them passing is, and one failure is enough to be lost.
    """
    allocation = listed(nomad, nowhere)
    nomad.checks(allocation, {"alive": "pending", "model": "success"})
    probed = follow(nomad)
    probed.watch(nowhere, allocations={nowhere: allocation})
    probed.becomes(nowhere, STARTING)
    nomad.checks(allocation, {"alive": "success", "model": "success"})
    probed.becomes(nowhere, READY)
    nomad.checks(allocation, {"alive": "success", "model": "failure"})
    probed.becomes(nowhere, FAILING)
    nomad.checks(allocation, {"alive": "success", "model": "success"})

    expected = ["starting", "ready", "failing", "ready"]
    assert expected == probed.becomes(nowhere, READY)
    assert [] == probed.fell_back


def test_checks_of_another_service_do_not_count(nomad: FakeNomad, nowhere: tuple[str, int]) -> None:
    """
    A sidecar in the same allocation may fail as it likes.
    """
    allocation = listed(nomad, nowhere)
    nomad.checks(allocation, {"alive": "success"})
    nomad.checks(allocation, {"metrics": "failure"}, service="sidecar")
    probed = follow(nomad)
    probed.watch(nowhere, allocations={nowhere: allocation})

    assert ["ready"] == probed.becomes(nowhere, READY)


@pytest.mark.parametrize(
    "statuses",
    [pytest.param(None, id="stopping"), pytest.param({"alive": "pending"}, id="pending")],
)
def test_checks_that_are_gone_or_begin_anew_are_no_verdict(
    nomad: FakeNomad, nowhere: tuple[str, int], statuses: dict[str, str] | None
) -> None:
    """
    One that was ready stays so, and is not probed by TCP either: there it would fail.
    """
    allocation = listed(nomad, nowhere)
    nomad.checks(allocation, {"alive": "success"})
    probed = follow(nomad)
    probed.watch(nowhere, allocations={nowhere: allocation})
    probed.becomes(nowhere, READY)
    nomad.checks(allocation, statuses)
    asked = len(nomad.requests)
    eventually(lambda: len(nomad.requests) >= asked + 4)

    assert ["ready"] == probed.history(nowhere)


@pytest.mark.parametrize("status", [404, 429, 500])
def test_an_answer_that_is_none_takes_nobody_out(nomad: FakeNomad, status: int) -> None:
    """
    One that was ready stays so while it still answers itself.
    """
    with Replica("one") as replica:
        allocation = listed(nomad, replica.endpoint)
        nomad.checks(allocation, {"alive": "success"})
        probed = follow(nomad)
        probed.watch(replica.endpoint, allocations={replica.endpoint: allocation})
        probed.becomes(replica.endpoint, READY)
        nomad.fault(faults.status(status, "rpc error"))
        eventually(lambda: len(nomad.requests) > 6)

        assert ["ready"] == probed.history(replica.endpoint)
        assert [] == probed.fell_back


def test_a_service_without_checks_is_probed_by_tcp(nomad: FakeNomad) -> None:
    """
    What Nomad never checked would never be ready otherwise.
    """
    with Replica("one") as replica:
        allocation = listed(nomad, replica.endpoint)
        probed = follow(nomad)
        probed.watch(replica.endpoint, allocations={replica.endpoint: allocation})
        probed.becomes(replica.endpoint, READY)
        replica.stop()
        probed.becomes(replica.endpoint, FAILING)
        nomad.checks(allocation, {"alive": "success"})

        assert ["ready", "failing", "ready"] == probed.becomes(replica.endpoint, READY)


def test_without_the_right_to_ask_all_is_probed_by_tcp(tmp_path: object) -> None:
    """
    It is said once, with the policy to apply, and nobody waits for it.
    """
    with FakeNomad(acl=True) as nomad, Replica("one") as replica:
        allocation = listed(nomad, replica.endpoint)
        probed = follow(nomad, NOMAD_TOKEN=TOKEN)
        probed.watch(replica.endpoint, allocations={replica.endpoint: allocation})
        probed.becomes(replica.endpoint, READY)
        asked = len(nomad.requests)
        replica.stop()
        probed.becomes(replica.endpoint, FAILING)

        (said,) = probed.fell_back
        assert "403" in said.reason
        assert 'namespace "default" { capabilities = ["read-job"] }' in said.hint
        assert "nomad acl policy apply -namespace default -job balancer " in said.hint
        assert asked == len(nomad.requests)


def test_while_nomad_is_away_a_dead_one_still_leaves(nomad: FakeNomad) -> None:
    """
    Those that were ready are probed by TCP after three intervals, and by Nomad when it is back.
    """
    with Replica("one") as one, Replica("two") as two:
        nomad.set("web", [one.endpoint, two.endpoint])
        allocations = {each.endpoint: nomad.allocation("web", each.port) for each in (one, two)}
        for allocation in allocations.values():
            nomad.checks(allocation, {"alive": "success"})
        probed = follow(nomad)
        probed.watch(one.endpoint, two.endpoint, allocations=allocations)
        probed.becomes(one.endpoint, READY)
        probed.becomes(two.endpoint, READY)
        nomad.stop()
        one.stop()
        probed.becomes(one.endpoint, FAILING)
        assert ["ready"] == probed.history(two.endpoint)

        nomad.checks(allocations[two.endpoint], {"alive": "failure"})
        nomad.start()
        probed.becomes(two.endpoint, FAILING)
        probed.becomes(one.endpoint, READY)  # as Nomad says, who has not seen it die


def test_one_that_leaves_is_probed_by_tcp(nomad: FakeNomad, nowhere: tuple[str, int]) -> None:
    """
    The checks of an allocation that is stopped are gone before it is.
    """
    allocation = listed(nomad, nowhere)
    nomad.checks(allocation, {"alive": "success"})
    probed = follow(nomad)
    probed.watch(nowhere, allocations={nowhere: allocation})
    probed.becomes(nowhere, READY)
    probed.watch(leaving=[nowhere], allocations={nowhere: allocation})

    assert ["ready", "failing"] == probed.becomes(nowhere, FAILING)


def test_one_broken_node_holds_up_nobody_else(nomad: FakeNomad) -> None:
    """
    An allocation that cannot be asked for is asked again after the others.
    """
    with Replica("one") as one, Replica("two") as two:
        nomad.set("web", [one.endpoint, two.endpoint])
        allocations = {
            one.endpoint: "-",  # which is a 500 for ever
            two.endpoint: nomad.allocation("web", two.port),
        }
        nomad.checks(allocations[two.endpoint], {"alive": "success"})
        probed = follow(nomad)
        probed.watch(one.endpoint, two.endpoint, allocations=allocations)

        assert ["ready"] == probed.becomes(two.endpoint, READY)
