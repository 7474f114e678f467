"""
Tests of the endpoint set: answers of sources merged with results of probes.
"""

from supervisor.core import endpoint_set
from supervisor.core.endpoint_set import FIRST_PROBE_WAIT, LINGER, EndpointSet
from supervisor.core.events import DiscoveryFailed, HealthChanged, SnapshotArrived
from supervisor.core.model import NEVER, CachedEndpoints, Endpoint, HealthState, ServerOptions
from tests.support.policy_simulation import endpoints

ONE, TWO, THREE = endpoints(1, 2, 3)


def expecting(*names: str, limit: int = 10, is_probing: bool = True) -> EndpointSet:
    """Return a set with sources that have not answered."""
    return EndpointSet.expecting(names or ("a",), limit, is_probing=is_probing)


def answered(
    known: EndpointSet,
    source: str,
    *ports: int,
    confirmed: bool = True,
    now: float = 1.0,
    server_options: dict[Endpoint, ServerOptions] | None = None,
    allocations: dict[Endpoint, str] | None = None,
) -> EndpointSet:
    """Apply an answer of a source."""
    event = SnapshotArrived(
        source,
        endpoints(*ports),
        confirmed,
        server_options=server_options or {},
        allocations=allocations or {},
    )
    return endpoint_set.arrived(known, event, now)


def probed(known: EndpointSet, health_state: HealthState, *which: Endpoint) -> EndpointSet:
    """Apply a result of the probes."""
    return endpoint_set.health_changed(
        known, HealthChanged(dict.fromkeys(which, health_state)), 1.0
    )


# ----------------------------------------------------------------------------------- sources


def test_several_services_form_one_upstream() -> None:
    """
    The endpoints of several services are merged, sorted and unique.
    """
    known = answered(answered(expecting("a", "b"), "a", 3, 1), "b", 2, 1)

    assert endpoints(1, 2, 3) == known.known


def test_a_failing_service_keeps_its_last_answer() -> None:
    """
    The endpoints of other services can change meanwhile.
    """
    known = answered(answered(expecting("a", "b"), "a", 1), "b", 2)
    known = endpoint_set.failed(known, DiscoveryFailed("a", "away", 1.0), 2.0)
    known = endpoint_set.failed(known, DiscoveryFailed("a", "away", 1.0), 3.0)
    known = answered(known, "b", 3)

    assert endpoints(1, 3) == known.known
    assert 2.0 == known.sources["a"].failing_since


def test_an_unconfirmed_empty_answer_changes_nothing() -> None:
    """
    It proves only that the source is available.
    """
    known = answered(answered(expecting(), "a", 1), "a", confirmed=False)

    assert endpoints(1) == known.known
    assert known.tried_all


def test_the_limit_applies_to_all_sources_together() -> None:
    """
    MAX_ENDPOINTS limits the endpoints that nginx receives and that are probed.
    """
    known = answered(answered(expecting("a", "b", limit=3), "a", 1, 2), "b", 3, 4)

    assert endpoints(1, 2, 3) == known.known
    assert frozenset(endpoints(1, 2, 3)) == known.watched


def test_allocations_of_all_sources_are_kept() -> None:
    """
    Nomad is queried for the checks of each allocation.
    """
    known = answered(expecting("a", "b"), "a", 1, allocations={ONE: "x"})
    known = answered(known, "b", 2, allocations={TWO: "y"})

    assert {ONE: "x", TWO: "y"} == known.allocations


def test_the_options_of_an_endpoint_of_two_services_are_merged() -> None:
    """
    The larger weight counts, drain and backup if all services set it; default options have no
    entry.
    """
    options = {
        ONE: ServerOptions(3, backup=True),
        TWO: ServerOptions(1, backup=True),
        THREE: ServerOptions(drain=True),
    }
    known = answered(expecting("a", "b"), "a", 1, 2, 3, server_options=options)
    known = answered(known, "b", 1, 2, 3, server_options={ONE: ServerOptions(2, backup=True)})

    assert {ONE: ServerOptions(3, backup=True)} == known.server_options


# ------------------------------------------------------------------------------------ health


def test_new_endpoints_delay_the_plan_for_a_moment() -> None:
    """
    The hold begins with the first new endpoint, and the next one does not prolong it.
    """
    known = answered(expecting(), "a", 1, now=1.0)
    known = answered(known, "a", 1, 2, now=1.02)

    assert 1.0 + FIRST_PROBE_WAIT == known.due_at
    assert endpoint_set.is_holding(known, 1.03)
    assert not endpoint_set.is_holding(known, 1.0 + FIRST_PROBE_WAIT)


def test_a_hold_ends_with_the_last_probe_result() -> None:
    """
    It ends for any result.
    """
    known = probed(answered(expecting(), "a", 1, 2), HealthState.READY, ONE)
    assert endpoint_set.is_holding(known, 1.01)

    known = probed(known, HealthState.STARTING, TWO)
    assert not endpoint_set.is_holding(known, 1.01)


def test_a_removal_is_not_delayed() -> None:
    """
    The remaining endpoints have been probed already.
    """
    known = probed(answered(expecting(), "a", 1, 2), HealthState.READY, ONE, TWO)
    known = answered(endpoint_set.release_hold(known), "a", 1, now=2.0)

    assert not endpoint_set.is_holding(known, 2.0)
    assert NEVER == known.due_at


def test_without_probes_there_is_no_hold_and_nothing_is_watched() -> None:
    """
    With HEALTH_CHECK=off every listed endpoint counts as ready.
    """
    known = answered(expecting(is_probing=False), "a", 1)

    assert not endpoint_set.is_holding(known, 1.0)
    assert frozenset() == known.watched
    assert known.all_probed


def test_the_same_answer_again_changes_nothing_but_its_time() -> None:
    """
    A blocking query can return without a change, thousands of times a day.
    """
    known = probed(answered(expecting(), "a", 1), HealthState.READY, ONE)
    again = answered(known, "a", 1, now=9.0)

    assert known.watched is again.watched
    assert 9.0 == again.sources["a"].answered_at


def test_a_probe_result_of_a_removed_endpoint_is_ignored() -> None:
    """
    A probe can finish after its endpoint was removed.
    """
    known = probed(answered(expecting(), "a", 1), HealthState.READY, TWO)

    assert {} == known.health_states


def test_an_endpoint_listed_again_is_probed_again() -> None:
    """
    Another process may listen on its address now.
    """
    known = probed(answered(expecting(), "a", 1, 2), HealthState.READY, ONE, TWO)
    known = answered(answered(known, "a", 1), "a", 1, 2)

    assert not known.all_probed


# ----------------------------------------------------------------------------------- leaving


def replaced(now: float = 5.0) -> EndpointSet:
    """Replace a set with a ready endpoint by one without probe results."""
    known = probed(answered(expecting(), "a", 1, 2), HealthState.READY, ONE)
    return answered(probed(known, HealthState.STARTING, TWO), "a", 3, now=now)


def test_a_ready_endpoint_lingers_when_the_whole_set_is_replaced() -> None:
    """
    It is still probed; endpoints that were never ready are removed.
    """
    known = replaced()

    assert {ONE: 5.0} == known.leaving
    assert {ONE, THREE} == known.watched


def test_lingering_ends_when_a_listed_endpoint_is_ready() -> None:
    """
    A new endpoint that is still starting does not end it.
    """
    known = probed(replaced(), HealthState.STARTING, THREE)
    assert {ONE: 5.0} == known.leaving

    known = probed(known, HealthState.READY, THREE)
    assert {} == known.leaving
    assert {THREE} == known.watched


def test_lingering_ends_after_the_limit() -> None:
    """
    A removed endpoint serves for at most LINGER seconds.
    """
    known = endpoint_set.release_hold(replaced(now=5.0))
    assert 5.0 + LINGER == known.due_at
    assert known == endpoint_set.elapsed(known, 34.9)

    known = endpoint_set.elapsed(known, 35.0)
    assert {} == known.leaving
    assert {THREE} == known.watched


def test_lingering_goes_on_through_another_replacement() -> None:
    """
    The time counts from the removal of each endpoint.
    """
    known = answered(replaced(now=5.0), "a", 2, now=9.0)

    assert {ONE: 5.0} == known.leaving


def test_an_endpoint_that_is_listed_again_does_not_linger() -> None:
    """
    Its health is kept: ready.
    """
    known = answered(replaced(), "a", 1, 3)

    assert {} == known.leaving
    assert HealthState.READY is known.health_states[ONE]


def test_nothing_lingers_after_a_confirmed_empty_answer() -> None:
    """
    An empty service must answer 503 at once.
    """
    known = answered(replaced(), "a")

    assert {} == known.leaving
    assert frozenset() == known.watched


def test_nothing_lingers_while_another_is_ready() -> None:
    """
    The endpoint of a stopping allocation is removed at once.
    """
    known = probed(answered(expecting(), "a", 1, 2), HealthState.READY, ONE, TWO)

    assert {} == answered(known, "a", 2, 3).leaving


def test_a_hold_that_is_over_is_cleared() -> None:
    """
    The instant is reset, so that it causes no further wake-up.
    """
    known = endpoint_set.elapsed(answered(expecting(), "a", 1), 1.0 + FIRST_PROBE_WAIT)

    assert NEVER == known.hold_until


# ------------------------------------------------------------------------------------- cache


def test_cached_endpoints_are_used_until_the_source_answers() -> None:
    """
    The time of the answer is derived from the age of the cache.
    """
    cached = CachedEndpoints(endpoints(1, 2), {ONE: ServerOptions(2)}, frozenset({ONE}), 60.0)
    known = endpoint_set.restored(expecting(), {"a": cached, "gone": cached}, 100.0)

    assert endpoints(1, 2) == known.known
    assert {ONE: ServerOptions(2)} == known.server_options
    assert 40.0 == known.sources["a"].answered_at
    assert not known.tried_all

    assert endpoints(3) == answered(known, "a", 3, now=101.0).known


def test_a_cached_endpoint_that_was_ready_fails_instead_of_starting() -> None:
    """
    When its probe fails, it counts as failing and not as starting.
    """
    cached = CachedEndpoints(endpoints(1, 2), {}, frozenset({ONE}), 60.0)
    known = endpoint_set.restored(expecting(), {"a": cached}, 100.0)

    known = probed(known, HealthState.STARTING, ONE, TWO)

    assert {ONE: HealthState.FAILING, TWO: HealthState.STARTING} == known.health_states
