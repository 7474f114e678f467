"""
The rules of blocking queries: where to ask from next, and when.
"""

import pytest

from supervisor.discovery import query_schedule
from supervisor.discovery.query_schedule import QuerySchedule


def learn(
    place: QuerySchedule,
    index: int | None,
    *,
    news: bool = True,
    empty: bool = False,
    after: float = 0.0,
) -> tuple[QuerySchedule, float, bool]:
    """Ask at 100 s and be answered so much later."""
    asked = query_schedule.asking(place, 100.0)
    return query_schedule.answered(asked, index, is_news=news, is_empty=empty, now=100.0 + after)


def test_the_next_query_waits_from_where_the_answer_was() -> None:
    """
    The index of an answer is where to block from.
    """
    place, pause, confirmed = learn(QuerySchedule(), 7)

    assert (7, True) == (place.index, confirmed)
    assert pause < 0.05


def test_an_index_that_goes_back_starts_anew() -> None:
    """
    The registry was restored: the next query asks for everything, at once.
    """
    assert 0 == learn(QuerySchedule(index=9), 3)[0].index


@pytest.mark.parametrize("index", [None, 0])
def test_without_an_index_it_polls(index: int | None) -> None:
    """
    A query that cannot block is repeated once a second, never in a busy loop.
    """
    place, pause, _ = learn(QuerySchedule(index=9), index)

    assert (0, 1.0) == (place.index, pause)


def test_quick_answers_without_news_use_up_the_credit() -> None:
    """
    A registry that changes all the time elsewhere is asked 1.5 times a second in the end.
    """
    place, pauses = QuerySchedule(index=1), []
    for number in range(8):
        place = query_schedule.asking(place, 100.0 + number / 1000)
        place, pause, _ = query_schedule.answered(
            place, 1, is_news=False, is_empty=False, now=100.0 + number / 1000
        )
        pauses.append(pause)

    assert all(pause < 0.05 for pause in pauses[:3])
    assert all(pause > 0.6 for pause in pauses[4:])


def test_a_calm_time_restores_the_credit() -> None:
    """
    After a while a few quick answers are free again.
    """
    place = query_schedule.asking(QuerySchedule(index=1, credit=0.0, asked_at=90.0), 100.0)

    assert query_schedule.asking(place, 100.0).credit == place.credit > 3


def test_a_first_empty_answer_is_doubted_for_a_second() -> None:
    """
    The second query asks without an index, at least a second later, and is believed.
    """
    place, pause, confirmed = learn(QuerySchedule(index=5), 6, empty=True)
    assert (0, False) == (place.index, confirmed)
    assert pause >= 1.0

    place, _, confirmed = learn(place, 6, empty=True, news=True)
    assert (6, True) == (place.index, confirmed)


def test_an_empty_answer_that_is_known_needs_no_second_one() -> None:
    """
    An empty service may stay so for hours: each wake-up is taken as it is.
    """
    place = learn(learn(QuerySchedule(), 6, empty=True)[0], 6, empty=True)[0]

    following, _, confirmed = learn(place, 8, empty=True, news=False)
    assert (8, True) == (following.index, confirmed)


def test_endpoints_after_a_doubt_end_it() -> None:
    """
    A service that was away for a moment is doubted anew the next time.
    """
    place = learn(QuerySchedule(), 6, empty=True)[0]
    place, _, confirmed = learn(place, 7)
    assert confirmed

    assert not learn(place, 8, empty=True)[2]


def test_wishes_to_know_are_granted_within_the_credit() -> None:
    """
    A few SIGHUPs ask again at once and from the beginning; a storm of them does not.
    """
    place, pauses = QuerySchedule(index=9, doubts=True, asked_at=100.0), []
    for _ in range(6):
        place, pause = query_schedule.anew(place, 100.0)
        pauses.append(pause)

    assert (0, False) == (place.index, place.doubts)
    assert all(pause < 0.05 for pause in pauses[:4])
    assert all(pause > 0.6 for pause in pauses[4:])


def test_a_failure_asks_for_everything_next() -> None:
    """
    Nothing remembered may hide what is true now; a doubt begins anew too.
    """
    place, _ = query_schedule.failed(
        QuerySchedule(index=9, doubts=True), refused=False, retry_after=None, chance=0, now=0.0
    )

    assert (0, 1, False) == (place.index, place.failures, place.doubts)


@pytest.mark.parametrize("refused, longest", [(True, 2.0), (False, 5.0)])
def test_pauses_grow_to_a_cap(*, refused: bool, longest: float) -> None:
    """
    Nobody listening is cheap to ask again; silence is not.  For ever, but never in step.
    """
    place, pauses = QuerySchedule(), []
    for _ in range(100):
        place, pause = query_schedule.failed(
            place, refused=refused, retry_after=None, chance=0.999, now=0.0
        )
        pauses.append(pause)

    assert pauses == sorted(pauses)
    assert 0.05 < pauses[0] <= 0.1
    assert longest * 0.9 < pauses[-1] <= longest
    place, pause = query_schedule.failed(
        place, refused=refused, retry_after=None, chance=0.0, now=0.0
    )
    assert longest / 2 == pause


@pytest.mark.parametrize("told, kept", [(7.0, 7.0), (3600.0, 60.0)])
def test_retry_after_is_followed_up_to_a_minute(told: float, kept: float) -> None:
    """
    A registry that asks for a pause gets it, within reason.
    """
    _, pause = query_schedule.failed(
        QuerySchedule(), refused=False, retry_after=told, chance=0.5, now=30.0
    )

    assert kept == pause


def test_a_retry_after_of_nothing_is_no_pause_to_follow() -> None:
    """
    Zero would be a busy loop.
    """
    assert (
        query_schedule.failed(QuerySchedule(), refused=False, retry_after=0.0, chance=0.0, now=0.0)[
            1
        ]
        > 0
    )


@pytest.mark.parametrize("duration, pause", [(0.0, 5.0), (3.0, 2.0), (5.0, 0.0), (40.0, 0.0)])
def test_the_time_a_query_took_to_fail_counts_as_waiting(duration: float, pause: float) -> None:
    """
    A registry that hangs is asked again 5 s after the last query began, not after it ended.
    """
    place = query_schedule.asking(QuerySchedule(failures=20), 100.0)

    following = query_schedule.failed(
        place, refused=False, retry_after=None, chance=1.0, now=100.0 + duration
    )

    assert pause == pytest.approx(following[1])
