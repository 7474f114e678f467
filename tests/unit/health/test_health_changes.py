"""
When what changed is told.
"""

from supervisor.core.events import Event, HealthChanged
from supervisor.core.model import NEVER, Endpoint, HealthState
from supervisor.health.prober import HealthChanges

ONE, TWO = Endpoint("10.0.0.1", 1), Endpoint("10.0.0.2", 1)
READY, FAILING = HealthState.READY, HealthState.FAILING


def test_news_after_a_calm_time_is_told_at_once() -> None:
    """
    All that was learned in one turn goes out in one event, and nothing is said twice.
    """
    said: list[Event] = []
    news = HealthChanges(said.append)
    news.post(100.0, 2)
    assert [] == said
    news.note(ONE, READY)
    news.note(TWO, FAILING)
    news.post(100.0, 2)
    news.post(200.0, 2)

    assert [HealthChanged({ONE: READY, TWO: FAILING})] == said


def test_more_news_is_held_back_for_a_moment_and_no_longer() -> None:
    """
    5 ms, or 5 us for each endpoint if that is more; then the last word on each is told.
    """
    for endpoints_total, gap in ((10, 0.005), (10_000, 0.05)):
        said: list[Event] = []
        news = HealthChanges(said.append)
        assert NEVER == news.due
        news.note(ONE, READY)
        news.post(100.0, endpoints_total)
        news.note(ONE, FAILING)
        news.note(ONE, READY)
        news.post(100.0 + gap * 0.9, endpoints_total)
        assert 1 == len(said)

        assert 100.0 + gap == news.due
        news.post(news.due, endpoints_total)
        assert [HealthChanged({ONE: READY})] * 2 == said


def test_of_what_is_gone_nothing_is_told() -> None:
    """
    An endpoint that is not watched any more is no news.
    """
    said: list[Event] = []
    news = HealthChanges(said.append)
    news.note(ONE, READY)
    news.drop(ONE)
    news.drop(TWO)
    news.post(100.0, 1)

    assert [] == said
