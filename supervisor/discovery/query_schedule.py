"""
Where to ask a registry from next, and when: the rules of blocking queries.

Theory: an index belongs to a whole table, so a query may return with nothing new; it can go back
when the registry is restored; and it can be missing.  What is compared is the answer, never the
index.  Every failure sends the next query back to the beginning, without an index, so that nothing
remembered can hide what is true now; and queries that fail start at most 2 s apart where nobody
listens, 5 s otherwise, so that a registry that comes back is heard soon.  An empty answer that
follows a fuller one, or is the first, is believed when a second one, asked at least a second later,
agrees.

Pure: all spans are in seconds, `chance` is a random number in [0, 1).
"""

from dataclasses import dataclass, replace

#: Quick answers without news that may follow each other freely, and how fast that credit returns.
_CREDIT = 4.0
_CREDIT_PER_SECOND = 1.5

#: Between the starts of any two queries, and between two that cannot block (no usable index).
_FLOOR = 0.02
_POLL = 1.0

#: After a first empty answer.
_DOUBT = 1.05

#: Back-off after failures: the first pause, and its caps when refused and otherwise.
_FIRST = 0.1
_REFUSED_CAP = 2.0
_SILENT_CAP = 5.0
_RETRY_AFTER_CAP = 60.0


@dataclass(frozen=True, slots=True)
class QuerySchedule:
    """
    Where one blocking query stands.  Index 0 asks without one, and is answered at once.
    """

    index: int = 0
    failures: int = 0
    credit: float = _CREDIT
    asked_at: float = 0.0
    doubts: bool = False
    believes_empty: bool = False


def asking(schedule: QuerySchedule, now: float) -> QuerySchedule:
    """
    Note that a query starts.
    """
    gained = (now - schedule.asked_at) * _CREDIT_PER_SECOND
    return replace(schedule, asked_at=now, credit=min(_CREDIT, schedule.credit + gained))


def answered(
    schedule: QuerySchedule, index: int | None, *, is_news: bool, is_empty: bool, now: float
) -> tuple[QuerySchedule, float, bool]:
    """
    Take in an answer: the next cursor, how long to wait, and whether the answer is certain.
    """
    if is_empty and not schedule.believes_empty and not schedule.doubts:
        return replace(schedule, index=0, failures=0, doubts=True), _DOUBT, False
    usable = index is not None and index > 0
    credit = schedule.credit if is_news or schedule.doubts else max(0.0, schedule.credit - 1.0)
    following = replace(
        schedule,
        index=index if index is not None and index >= max(1, schedule.index) else 0,
        failures=0,
        credit=credit,
        doubts=False,
        believes_empty=is_empty,
    )
    if not usable:
        return following, _POLL, True
    pause = _FLOOR if is_news or credit >= 1.0 else 1.0 / _CREDIT_PER_SECOND
    return following, max(0.0, schedule.asked_at + pause - now), True


def anew(schedule: QuerySchedule, now: float) -> tuple[QuerySchedule, float]:
    """
    Ask again from the beginning, because somebody wants to know: the next cursor, and the wait.

    It uses up credit like an answer without news, so that a storm of wishes is no storm of queries.
    """
    following = replace(schedule, index=0, doubts=False, credit=max(0.0, schedule.credit - 1.0))
    pause = _FLOOR if schedule.credit >= 1.0 else 1.0 / _CREDIT_PER_SECOND
    return following, max(0.0, schedule.asked_at + pause - now)


def failed(
    schedule: QuerySchedule, *, refused: bool, retry_after: float | None, chance: float, now: float
) -> tuple[QuerySchedule, float]:
    """
    Take in a failure: the next cursor, which asks without an index, and how long to wait.

    The cap bounds the time from one start of a query to the next: a query that failed only after
    some seconds has waited already.
    """
    following = replace(schedule, index=0, failures=schedule.failures + 1, doubts=False)
    cap = _REFUSED_CAP if refused else _SILENT_CAP
    pause = min(cap, _FIRST * 2.0 ** min(schedule.failures, 16))
    if retry_after is not None and retry_after > 0:
        return following, min(retry_after, _RETRY_AFTER_CAP)
    return following, max(0.0, min(pause * (0.5 + chance / 2), schedule.asked_at + cap - now))
