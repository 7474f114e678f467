"""
The rules of blocking queries: from which index to query a registry next, and when.

An index belongs to a whole table, so a query may return without a change; an index can go back when
the registry is restored; and it can be missing.  So responses are compared, never indexes.  After
every failure the next query has no index, so that no cached state can hide the current one.  Failed
queries start at most 2 s apart if the connection was refused, 5 s otherwise, so that a recovered
registry is noticed soon.  An empty response that follows a non-empty one, or is the first, is
accepted when a second one, queried at least a second later, confirms it.

Pure: all durations are in seconds, `chance` is a random number in [0, 1).
"""

from dataclasses import replace

from supervisor.core.values import value_class

#: How many quick responses without a change may follow each other, and how fast that credit
#: returns.
_CREDIT = 4.0
_CREDIT_PER_SECOND = 1.5

#: Between the starts of any two queries, and between two that cannot block (no usable index).
_MIN_INTERVAL = 0.02
_POLL_INTERVAL = 1.0

#: From a first empty response to the query that confirms it.
_EMPTY_CONFIRM_DELAY = 1.05

#: Back-off after failures: the first pause, and its limits for a refused connection and otherwise.
_FIRST_PAUSE = 0.1
_MAX_PAUSE_REFUSED = 2.0
_MAX_PAUSE = 5.0
_MAX_RETRY_AFTER = 60.0


@value_class(frozen=True, slots=True)
class QuerySchedule:
    """
    The state of one blocking query.

    Index 0: query without an index, which returns at once.  `confirming_empty`: the last response
    was empty and is not confirmed yet; `is_empty`: an empty response is the accepted state.
    """

    index: int = 0
    failures: int = 0
    credit: float = _CREDIT
    started_at: float = 0.0
    confirming_empty: bool = False
    is_empty: bool = False


def on_start(schedule: QuerySchedule, now: float) -> QuerySchedule:
    """
    Record that a query starts.
    """
    gained = (now - schedule.started_at) * _CREDIT_PER_SECOND
    return replace(schedule, started_at=now, credit=min(_CREDIT, schedule.credit + gained))


def on_response(
    schedule: QuerySchedule, index: int | None, *, is_changed: bool, is_empty: bool, now: float
) -> tuple[QuerySchedule, float, bool]:
    """
    Process a response: return the next schedule, the pause, and whether the response is confirmed.
    """
    if is_empty and not schedule.is_empty and not schedule.confirming_empty:
        unconfirmed = replace(schedule, index=0, failures=0, confirming_empty=True)
        return unconfirmed, _EMPTY_CONFIRM_DELAY, False
    usable = index is not None and index > 0
    is_free = is_changed or schedule.confirming_empty
    credit = schedule.credit if is_free else max(0.0, schedule.credit - 1.0)
    following = replace(
        schedule,
        index=index if index is not None and index >= max(1, schedule.index) else 0,
        failures=0,
        credit=credit,
        confirming_empty=False,
        is_empty=is_empty,
    )
    if not usable:
        return following, _POLL_INTERVAL, True
    pause = _MIN_INTERVAL if is_changed or credit >= 1.0 else 1.0 / _CREDIT_PER_SECOND
    return following, max(0.0, schedule.started_at + pause - now), True


def on_requery(schedule: QuerySchedule, now: float) -> tuple[QuerySchedule, float]:
    """
    Query again without an index, on request: return the next schedule and the pause.

    It uses up credit like a response without a change, so that many requests do not cause as many
    queries.
    """
    following = replace(
        schedule, index=0, confirming_empty=False, credit=max(0.0, schedule.credit - 1.0)
    )
    pause = _MIN_INTERVAL if schedule.credit >= 1.0 else 1.0 / _CREDIT_PER_SECOND
    return following, max(0.0, schedule.started_at + pause - now)


def on_failure(
    schedule: QuerySchedule, *, refused: bool, retry_after: float | None, chance: float, now: float
) -> tuple[QuerySchedule, float]:
    """
    Process a failure: return the next schedule, without an index, and the pause.

    The limit bounds the time between the starts of two queries: the time that a query took to fail
    counts as waiting.
    """
    following = replace(schedule, index=0, failures=schedule.failures + 1, confirming_empty=False)
    limit = _MAX_PAUSE_REFUSED if refused else _MAX_PAUSE
    pause = min(limit, _FIRST_PAUSE * 2.0 ** min(schedule.failures, 16))
    if retry_after is not None and retry_after > 0:
        return following, min(retry_after, _MAX_RETRY_AFTER)
    return following, max(0.0, min(pause * (0.5 + chance / 2), schedule.started_at + limit - now))
