"""
HEALTH_CHECK=nomad: Nomad's own checks decide, and TCP probes if there are no results.
"""

import pytest

from supervisor.core.model import HealthState
from tests.support import nomad_faults as faults
from tests.support.fake_nomad import TOKEN, FakeNomad
from tests.support.probing import ProbeRecorder
from tests.support.replica import Replica
from tests.support.waiting import eventually, free_port

READY, SLOW, FAILING = HealthState.READY, HealthState.SLOW, HealthState.FAILING
STARTING = HealthState.STARTING


def record(nomad: FakeNomad, **environ: str) -> ProbeRecorder:
    """Query Nomad's checks five times a second, and record the events."""
    return ProbeRecorder(
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
def closed() -> tuple[str, int]:
    """
    An endpoint without a listener, which only Nomad can report as ready.
    """
    return ("127.0.0.1", free_port())


def test_the_checks_decide(nomad: FakeNomad, closed: tuple[str, int]) -> None:
    """
    An endpoint is not ready while a check is pending, ready if all pass, failing if one fails.
    """
    allocation = listed(nomad, closed)
    nomad.checks(allocation, {"alive": "pending", "model": "success"})
    recorder = record(nomad)
    recorder.watch(closed, allocations={closed: allocation})
    recorder.wait_for(closed, STARTING)
    nomad.checks(allocation, {"alive": "success", "model": "success"})
    recorder.wait_for(closed, READY)
    nomad.checks(allocation, {"alive": "success", "model": "failure"})
    recorder.wait_for(closed, FAILING)
    nomad.checks(allocation, {"alive": "success", "model": "success"})

    expected = ["starting", "ready", "failing", "ready"]
    assert expected == recorder.wait_for(closed, READY)
    assert [] == recorder.fell_back


def test_checks_of_another_service_do_not_count(nomad: FakeNomad, closed: tuple[str, int]) -> None:
    """
    Failing checks of a sidecar in the same allocation have no effect.
    """
    allocation = listed(nomad, closed)
    nomad.checks(allocation, {"alive": "success"})
    nomad.checks(allocation, {"metrics": "failure"}, service="sidecar")
    recorder = record(nomad)
    recorder.watch(closed, allocations={closed: allocation})

    assert ["ready"] == recorder.wait_for(closed, READY)


@pytest.mark.parametrize(
    "statuses",
    [pytest.param(None, id="stopping"), pytest.param({"alive": "pending"}, id="pending")],
)
def test_checks_that_disappear_or_are_pending_again_have_no_effect(
    nomad: FakeNomad, closed: tuple[str, int], statuses: dict[str, str] | None
) -> None:
    """
    A ready endpoint stays ready, and is not probed by TCP, where it would fail.
    """
    allocation = listed(nomad, closed)
    nomad.checks(allocation, {"alive": "success"})
    recorder = record(nomad)
    recorder.watch(closed, allocations={closed: allocation})
    recorder.wait_for(closed, READY)
    nomad.checks(allocation, statuses)
    count = len(nomad.requests)
    eventually(lambda: len(nomad.requests) >= count + 4)

    assert ["ready"] == recorder.history(closed)


@pytest.mark.parametrize("status", [404, 429, 500])
def test_an_error_response_removes_no_endpoint(nomad: FakeNomad, status: int) -> None:
    """
    A ready endpoint stays ready while its own port responds.
    """
    with Replica("one") as replica:
        allocation = listed(nomad, replica.endpoint)
        nomad.checks(allocation, {"alive": "success"})
        recorder = record(nomad)
        recorder.watch(replica.endpoint, allocations={replica.endpoint: allocation})
        recorder.wait_for(replica.endpoint, READY)
        nomad.fault(faults.status(status, "rpc error"))
        eventually(lambda: len(nomad.requests) > 6)

        assert ["ready"] == recorder.history(replica.endpoint)
        assert [] == recorder.fell_back


def test_a_service_without_checks_is_probed_by_tcp(nomad: FakeNomad) -> None:
    """
    An endpoint without checks in Nomad would never be ready otherwise.
    """
    with Replica("one") as replica:
        allocation = listed(nomad, replica.endpoint)
        recorder = record(nomad)
        recorder.watch(replica.endpoint, allocations={replica.endpoint: allocation})
        recorder.wait_for(replica.endpoint, READY)
        replica.stop()
        recorder.wait_for(replica.endpoint, FAILING)
        nomad.checks(allocation, {"alive": "success"})

        assert ["ready", "failing", "ready"] == recorder.wait_for(replica.endpoint, READY)


def test_without_the_permission_all_endpoints_are_probed_by_tcp(tmp_path: object) -> None:
    """
    It is reported once, with the policy to apply, and delays no endpoint.
    """
    with FakeNomad(acl=True) as nomad, Replica("one") as replica:
        allocation = listed(nomad, replica.endpoint)
        recorder = record(nomad, NOMAD_TOKEN=TOKEN)
        recorder.watch(replica.endpoint, allocations={replica.endpoint: allocation})
        recorder.wait_for(replica.endpoint, READY)
        count = len(nomad.requests)
        replica.stop()
        recorder.wait_for(replica.endpoint, FAILING)

        (event,) = recorder.fell_back
        assert "403" in event.reason
        assert 'namespace "default" { capabilities = ["read-job"] }' in event.hint
        assert "nomad acl policy apply -namespace default -job balancer " in event.hint
        assert count == len(nomad.requests)


def test_while_nomad_is_unreachable_a_dead_endpoint_is_removed(nomad: FakeNomad) -> None:
    """
    Ready endpoints are probed by TCP after three intervals, and by Nomad after its recovery.
    """
    with Replica("one") as one, Replica("two") as two:
        nomad.set("web", [one.endpoint, two.endpoint])
        allocations = {each.endpoint: nomad.allocation("web", each.port) for each in (one, two)}
        for allocation in allocations.values():
            nomad.checks(allocation, {"alive": "success"})
        recorder = record(nomad)
        recorder.watch(one.endpoint, two.endpoint, allocations=allocations)
        recorder.wait_for(one.endpoint, READY)
        recorder.wait_for(two.endpoint, READY)
        nomad.stop()
        one.stop()
        recorder.wait_for(one.endpoint, FAILING)
        assert ["ready"] == recorder.history(two.endpoint)

        nomad.checks(allocations[two.endpoint], {"alive": "failure"})
        nomad.start()
        recorder.wait_for(two.endpoint, FAILING)
        recorder.wait_for(
            one.endpoint, READY
        )  # as reported by Nomad, which has not checked it since


def test_a_leaving_endpoint_is_probed_by_tcp(nomad: FakeNomad, closed: tuple[str, int]) -> None:
    """
    The checks of a stopped allocation disappear before it does.
    """
    allocation = listed(nomad, closed)
    nomad.checks(allocation, {"alive": "success"})
    recorder = record(nomad)
    recorder.watch(closed, allocations={closed: allocation})
    recorder.wait_for(closed, READY)
    recorder.watch(leaving=[closed], allocations={closed: allocation})

    assert ["ready", "failing"] == recorder.wait_for(closed, FAILING)


def test_a_broken_node_does_not_delay_other_allocations(nomad: FakeNomad) -> None:
    """
    A failed query of an allocation is retried after those of the others.
    """
    with Replica("one") as one, Replica("two") as two:
        nomad.set("web", [one.endpoint, two.endpoint])
        allocations = {
            one.endpoint: "-",  # always a 500
            two.endpoint: nomad.allocation("web", two.port),
        }
        nomad.checks(allocations[two.endpoint], {"alive": "success"})
        recorder = record(nomad)
        recorder.watch(one.endpoint, two.endpoint, allocations=allocations)

        assert ["ready"] == recorder.wait_for(two.endpoint, READY)
