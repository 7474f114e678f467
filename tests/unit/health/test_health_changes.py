"""
When health changes are posted.
"""

from supervisor.core.events import Event, HealthChanged
from supervisor.core.model import NEVER, Endpoint, HealthState
from supervisor.health.prober import HealthChanges

ONE, TWO = Endpoint("10.0.0.1", 1), Endpoint("10.0.0.2", 1)
READY, FAILING = HealthState.READY, HealthState.FAILING


def test_a_change_after_a_quiet_time_is_posted_at_once() -> None:
    """
    All changes of one iteration are posted in one event, and none is posted twice.
    """
    posted: list[Event] = []
    changes = HealthChanges(posted.append)
    changes.post(100.0, 2)
    assert [] == posted
    changes.add(ONE, READY)
    changes.add(TWO, FAILING)
    changes.post(100.0, 2)
    changes.post(200.0, 2)

    assert [HealthChanged({ONE: READY, TWO: FAILING})] == posted


def test_further_changes_are_delayed_by_the_minimum_gap() -> None:
    """
    The gap is 5 ms, or 5 us per endpoint if that is more; then the last state of each is posted.
    """
    for endpoints_total, gap in ((10, 0.005), (10_000, 0.05)):
        posted: list[Event] = []
        changes = HealthChanges(posted.append)
        assert NEVER == changes.due
        changes.add(ONE, READY)
        changes.post(100.0, endpoints_total)
        changes.add(ONE, FAILING)
        changes.add(ONE, READY)
        changes.post(100.0 + gap * 0.9, endpoints_total)
        assert 1 == len(posted)

        assert 100.0 + gap == changes.due
        changes.post(changes.due, endpoints_total)
        assert [HealthChanged({ONE: READY})] * 2 == posted


def test_nothing_is_posted_for_a_removed_endpoint() -> None:
    """
    The change of an endpoint that is no longer a target is discarded.
    """
    posted: list[Event] = []
    changes = HealthChanges(posted.append)
    changes.add(ONE, READY)
    changes.discard(ONE)
    changes.discard(TWO)
    changes.post(100.0, 1)

    assert [] == posted
