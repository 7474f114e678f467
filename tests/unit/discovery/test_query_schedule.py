"""
The rules of blocking queries: from which index to query next, and when.
"""

import pytest

from supervisor.discovery import query_schedule
from supervisor.discovery.query_schedule import QuerySchedule


def respond(
    schedule: QuerySchedule,
    index: int | None,
    *,
    changed: bool = True,
    empty: bool = False,
    after: float = 0.0,
) -> tuple[QuerySchedule, float, bool]:
    """Start a query at 100 s and return the result of a response `after` s later."""
    started = query_schedule.on_start(schedule, 100.0)
    return query_schedule.on_response(
        started, index, is_changed=changed, is_empty=empty, now=100.0 + after
    )


def test_the_next_query_blocks_from_the_index_of_the_response() -> None:
    """
    The schedule has the index of the last response.
    """
    schedule, pause, confirmed = respond(QuerySchedule(), 7)

    assert (7, True) == (schedule.index, confirmed)
    assert pause < 0.05


def test_an_index_that_goes_back_is_dropped() -> None:
    """
    The registry was restored: the next query has no index and returns at once.
    """
    assert 0 == respond(QuerySchedule(index=9), 3)[0].index


@pytest.mark.parametrize("index", [None, 0])
def test_without_an_index_it_polls(index: int | None) -> None:
    """
    A query that cannot block is repeated once a second.
    """
    schedule, pause, _ = respond(QuerySchedule(index=9), index)

    assert (0, 1.0) == (schedule.index, pause)


def test_quick_responses_without_a_change_use_up_the_credit() -> None:
    """
    A registry whose other services change all the time is queried 1.5 times a second in the end.
    """
    schedule, pauses = QuerySchedule(index=1), []
    for number in range(8):
        schedule = query_schedule.on_start(schedule, 100.0 + number / 1000)
        schedule, pause, _ = query_schedule.on_response(
            schedule, 1, is_changed=False, is_empty=False, now=100.0 + number / 1000
        )
        pauses.append(pause)

    assert all(pause < 0.05 for pause in pauses[:3])
    assert all(pause > 0.6 for pause in pauses[4:])


def test_a_quiet_time_restores_the_credit() -> None:
    """
    After a while a few quick responses are free again.
    """
    schedule = query_schedule.on_start(QuerySchedule(index=1, credit=0.0, started_at=90.0), 100.0)

    assert query_schedule.on_start(schedule, 100.0).credit == schedule.credit > 3


def test_a_first_empty_response_is_unconfirmed_for_a_second() -> None:
    """
    The second query has no index, starts at least a second later, and is accepted.
    """
    schedule, pause, confirmed = respond(QuerySchedule(index=5), 6, empty=True)
    assert (0, False) == (schedule.index, confirmed)
    assert pause >= 1.0

    schedule, _, confirmed = respond(schedule, 6, empty=True, changed=True)
    assert (6, True) == (schedule.index, confirmed)


def test_a_further_empty_response_needs_no_confirmation() -> None:
    """
    An empty service may stay so for hours: each further empty response is accepted.
    """
    schedule = respond(respond(QuerySchedule(), 6, empty=True)[0], 6, empty=True)[0]

    following, _, confirmed = respond(schedule, 8, empty=True, changed=False)
    assert (8, True) == (following.index, confirmed)


def test_endpoints_end_the_confirmation_of_an_empty_response() -> None:
    """
    The next empty response needs to be confirmed again.
    """
    schedule = respond(QuerySchedule(), 6, empty=True)[0]
    schedule, _, confirmed = respond(schedule, 7)
    assert confirmed

    assert not respond(schedule, 8, empty=True)[2]


def test_requeries_are_immediate_within_the_credit() -> None:
    """
    A few SIGHUPs query again at once and without an index; more are delayed.
    """
    schedule, pauses = QuerySchedule(index=9, confirming_empty=True, started_at=100.0), []
    for _ in range(6):
        schedule, pause = query_schedule.on_requery(schedule, 100.0)
        pauses.append(pause)

    assert (0, False) == (schedule.index, schedule.confirming_empty)
    assert all(pause < 0.05 for pause in pauses[:4])
    assert all(pause > 0.6 for pause in pauses[4:])


def test_after_a_failure_the_next_query_has_no_index() -> None:
    """
    No cached state may hide the current one; the confirmation of an empty response is reset too.
    """
    schedule, _ = query_schedule.on_failure(
        QuerySchedule(index=9, confirming_empty=True),
        refused=False,
        retry_after=None,
        chance=0,
        now=0.0,
    )

    assert (0, 1, False) == (schedule.index, schedule.failures, schedule.confirming_empty)


@pytest.mark.parametrize("refused, longest", [(True, 2.0), (False, 5.0)])
def test_pauses_grow_to_a_limit(*, refused: bool, longest: float) -> None:
    """
    The limit is lower for a refused connection, which is cheap to retry; all pauses have jitter.
    """
    schedule, pauses = QuerySchedule(), []
    for _ in range(100):
        schedule, pause = query_schedule.on_failure(
            schedule, refused=refused, retry_after=None, chance=0.999, now=0.0
        )
        pauses.append(pause)

    assert pauses == sorted(pauses)
    assert 0.05 < pauses[0] <= 0.1
    assert longest * 0.9 < pauses[-1] <= longest
    schedule, pause = query_schedule.on_failure(
        schedule, refused=refused, retry_after=None, chance=0.0, now=0.0
    )
    assert longest / 2 == pause


@pytest.mark.parametrize("retry_after, expected", [(7.0, 7.0), (3600.0, 60.0)])
def test_retry_after_is_followed_up_to_a_minute(retry_after: float, expected: float) -> None:
    """
    Retry-After sets the pause, up to the limit.
    """
    _, pause = query_schedule.on_failure(
        QuerySchedule(), refused=False, retry_after=retry_after, chance=0.5, now=30.0
    )

    assert expected == pause


def test_a_retry_after_of_zero_is_ignored() -> None:
    """
    A pause of zero would be a busy loop.
    """
    assert (
        query_schedule.on_failure(
            QuerySchedule(), refused=False, retry_after=0.0, chance=0.0, now=0.0
        )[1]
        > 0
    )


@pytest.mark.parametrize("duration, pause", [(0.0, 5.0), (3.0, 2.0), (5.0, 0.0), (40.0, 0.0)])
def test_the_time_a_query_took_to_fail_counts_as_waiting(duration: float, pause: float) -> None:
    """
    A registry that hangs is queried again 5 s after the last query started, not after it ended.
    """
    schedule = query_schedule.on_start(QuerySchedule(failures=20), 100.0)

    following = query_schedule.on_failure(
        schedule, refused=False, retry_after=None, chance=1.0, now=100.0 + duration
    )

    assert pause == pytest.approx(following[1])
