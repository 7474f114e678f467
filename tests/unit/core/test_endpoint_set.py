"""
What the sources said and the probes saw, and what follows from both.
"""

from supervisor.core import endpoint_set
from supervisor.core.endpoint_set import FIRST_LOOK, LINGER, EndpointSet
from supervisor.core.events import DiscoveryFailed, HealthChanged, SnapshotArrived
from supervisor.core.model import NEVER, CachedEndpoints, Endpoint, HealthState, ServerOptions
from tests.support.policy_simulation import endpoints

ONE, TWO, THREE = endpoints(1, 2, 3)


def expecting(*names: str, limit: int = 10, is_probing: bool = True) -> EndpointSet:
    """Begin with sources that have said nothing."""
    return EndpointSet.expecting(names or ("a",), limit, is_probing=is_probing)


def told(
    known: EndpointSet,
    source: str,
    *ports: int,
    confirmed: bool = True,
    now: float = 1.0,
    server_options: dict[Endpoint, ServerOptions] | None = None,
    allocations: dict[Endpoint, str] | None = None,
) -> EndpointSet:
    """Let a source answer."""
    event = SnapshotArrived(
        source,
        endpoints(*ports),
        confirmed,
        server_options=server_options or {},
        allocations=allocations or {},
    )
    return endpoint_set.arrived(known, event, now)


def found(known: EndpointSet, health_state: HealthState, *which: Endpoint) -> EndpointSet:
    """Let the probes find something."""
    return endpoint_set.health_changed(
        known, HealthChanged(dict.fromkeys(which, health_state)), 1.0
    )


# ------------------------------------------------------------------------------- the sources


def test_several_services_form_one_upstream() -> None:
    """
    Their endpoints are merged, sorted and unique.
    """
    known = told(told(expecting("a", "b"), "a", 3, 1), "b", 2, 1)

    assert endpoints(1, 2, 3) == known.known


def test_a_failing_service_keeps_its_last_answer() -> None:
    """
    The others may change meanwhile.
    """
    known = told(told(expecting("a", "b"), "a", 1), "b", 2)
    known = endpoint_set.failed(known, DiscoveryFailed("a", "away", 1.0), 2.0)
    known = endpoint_set.failed(known, DiscoveryFailed("a", "away", 1.0), 3.0)
    known = told(known, "b", 3)

    assert endpoints(1, 3) == known.known
    assert 2.0 == known.sources["a"].failing_since


def test_a_doubtful_empty_answer_changes_nothing() -> None:
    """
    It proves that the source is there, and no more.
    """
    known = told(told(expecting(), "a", 1), "a", confirmed=False)

    assert endpoints(1) == known.known
    assert known.tried_all


def test_the_limit_counts_for_all_together() -> None:
    """
    MAX_ENDPOINTS bounds what nginx is given, and what is probed.
    """
    known = told(told(expecting("a", "b", limit=3), "a", 1, 2), "b", 3, 4)

    assert endpoints(1, 2, 3) == known.known
    assert frozenset(endpoints(1, 2, 3)) == known.watched


def test_allocations_of_all_sources_are_kept() -> None:
    """
    Nomad is asked for the checks of each.
    """
    known = told(expecting("a", "b"), "a", 1, allocations={ONE: "x"})
    known = told(known, "b", 2, allocations={TWO: "y"})

    assert {ONE: "x", TWO: "y"} == known.allocations


def test_what_an_endpoint_of_two_services_asks_for_is_settled() -> None:
    """
    The larger weight counts, draining when one says so, backup when all do; nothing special is
    no entry.
    """
    asked = {
        ONE: ServerOptions(3, backup=True),
        TWO: ServerOptions(1, backup=True),
        THREE: ServerOptions(drain=True),
    }
    known = told(expecting("a", "b"), "a", 1, 2, 3, server_options=asked)
    known = told(known, "b", 1, 2, 3, server_options={ONE: ServerOptions(2, backup=True)})

    assert {
        ONE: ServerOptions(3, backup=True),
        THREE: ServerOptions(drain=True),
    } == known.server_options


# ------------------------------------------------------------------------------------ health


def test_new_endpoints_hold_back_the_plan_for_a_moment() -> None:
    """
    A hold begins with the first of them and is not prolonged by the next.
    """
    known = told(expecting(), "a", 1, now=1.0)
    known = told(known, "a", 1, 2, now=1.02)

    assert 1.0 + FIRST_LOOK == known.due_at
    assert endpoint_set.is_holding(known, 1.03)
    assert not endpoint_set.is_holding(known, 1.0 + FIRST_LOOK)


def test_a_hold_ends_with_the_last_verdict() -> None:
    """
    Whatever the verdict is.
    """
    known = found(told(expecting(), "a", 1, 2), HealthState.READY, ONE)
    assert endpoint_set.is_holding(known, 1.01)

    known = found(known, HealthState.STARTING, TWO)
    assert not endpoint_set.is_holding(known, 1.01)


def test_a_removal_is_not_held_back() -> None:
    """
    What stays has been judged already.
    """
    known = found(told(expecting(), "a", 1, 2), HealthState.READY, ONE, TWO)
    known = told(endpoint_set.settled(known), "a", 1, now=2.0)

    assert not endpoint_set.is_holding(known, 2.0)
    assert NEVER == known.due_at


def test_without_probes_nothing_is_held_back_or_watched() -> None:
    """
    HEALTH_CHECK=off: what is listed is ready.
    """
    known = told(expecting(is_probing=False), "a", 1)

    assert not endpoint_set.is_holding(known, 1.0)
    assert frozenset() == known.watched
    assert known.is_judged


def test_the_same_answer_again_changes_nothing_but_its_time() -> None:
    """
    A blocking query may return with nothing new, thousands of times a day.
    """
    known = found(told(expecting(), "a", 1), HealthState.READY, ONE)
    again = told(known, "a", 1, now=9.0)

    assert known.watched is again.watched
    assert 9.0 == again.sources["a"].answered_at


def test_a_verdict_on_an_endpoint_that_is_gone_is_no_news() -> None:
    """
    A probe under way may end after its endpoint has left.
    """
    known = found(told(expecting(), "a", 1), HealthState.READY, TWO)

    assert {} == known.health_states


def test_an_endpoint_that_comes_back_is_judged_anew() -> None:
    """
    Another process may listen there now.
    """
    known = found(told(expecting(), "a", 1, 2), HealthState.READY, ONE, TWO)
    known = told(told(known, "a", 1), "a", 1, 2)

    assert not known.is_judged


# ----------------------------------------------------------------------------------- leaving


def replaced(now: float = 5.0) -> EndpointSet:
    """Let a whole set of ready endpoints be replaced by one that nobody has judged."""
    known = found(told(expecting(), "a", 1, 2), HealthState.READY, ONE)
    return told(found(known, HealthState.STARTING, TWO), "a", 3, now=now)


def test_what_was_ready_lingers_when_the_whole_set_is_replaced() -> None:
    """
    It is still probed; what never was ready is forgotten.
    """
    known = replaced()

    assert {ONE: 5.0} == known.leaving
    assert {ONE, THREE} == known.watched


def test_lingering_ends_when_something_listed_is_ready() -> None:
    """
    A newcomer that still starts does not end it.
    """
    known = found(replaced(), HealthState.STARTING, THREE)
    assert {ONE: 5.0} == known.leaving

    known = found(known, HealthState.READY, THREE)
    assert {} == known.leaving
    assert {THREE} == known.watched


def test_lingering_ends_after_a_while() -> None:
    """
    An endpoint that left cannot serve for ever.
    """
    known = endpoint_set.settled(replaced(now=5.0))
    assert 5.0 + LINGER == known.due_at
    assert known == endpoint_set.elapsed(known, 34.9)

    known = endpoint_set.elapsed(known, 35.0)
    assert {} == known.leaving
    assert {THREE} == known.watched


def test_lingering_goes_on_through_another_replacement() -> None:
    """
    The time counts from when each left.
    """
    known = told(replaced(now=5.0), "a", 2, now=9.0)

    assert {ONE: 5.0} == known.leaving


def test_an_endpoint_that_is_listed_again_does_not_linger() -> None:
    """
    It is known as what it is: ready.
    """
    known = told(replaced(), "a", 1, 3)

    assert {} == known.leaving
    assert HealthState.READY is known.health_states[ONE]


def test_nothing_lingers_after_a_confirmed_empty_answer() -> None:
    """
    An empty service is to say 503 at once.
    """
    known = told(replaced(), "a")

    assert {} == known.leaving
    assert frozenset() == known.watched


def test_nothing_lingers_while_another_is_ready() -> None:
    """
    An allocation that is being stopped leaves at once.
    """
    known = found(told(expecting(), "a", 1, 2), HealthState.READY, ONE, TWO)

    assert {} == told(known, "a", 2, 3).leaving


def test_a_hold_that_is_over_does_not_come_back() -> None:
    """
    The instant is let go of, so that nothing wakes for it again.
    """
    known = endpoint_set.elapsed(told(expecting(), "a", 1), 1.0 + FIRST_LOOK)

    assert NEVER == known.hold_until


# ------------------------------------------------------------------------------------ memory


def test_what_was_remembered_counts_until_the_source_answers() -> None:
    """
    It is as old as it says.
    """
    memory = CachedEndpoints(endpoints(1, 2), {ONE: ServerOptions(2)}, frozenset({ONE}), 60.0)
    known = endpoint_set.restored(expecting(), {"a": memory, "gone": memory}, 100.0)

    assert endpoints(1, 2) == known.known
    assert {ONE: ServerOptions(2)} == known.server_options
    assert 40.0 == known.sources["a"].answered_at
    assert not known.tried_all

    assert endpoints(3) == told(known, "a", 3, now=101.0).known


def test_a_remembered_endpoint_that_was_ready_is_no_newcomer() -> None:
    """
    When it fails, it fails as one that was ready once.
    """
    memory = CachedEndpoints(endpoints(1, 2), {}, frozenset({ONE}), 60.0)
    known = endpoint_set.restored(expecting(), {"a": memory}, 100.0)

    known = found(known, HealthState.STARTING, ONE, TWO)

    assert {ONE: HealthState.FAILING, TWO: HealthState.STARTING} == known.health_states
