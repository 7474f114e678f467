"""
How the end of a command goes: a ladder of instants, as long as the total and never longer.

Told to stop at once, by TERM at the later of half-way and one second before the end, killed 0.3 s
before it.  Each further stop signal climbs one rung.  It is the ladder of `lifetime`, for those who
have no nginx to drain; a test keeps the two equal.
"""

from __future__ import annotations

import math
from typing import NamedTuple

_TERM_SPARE = 1.0
_KILL_SPARE = 0.3

#: What a second and a third stop signal leave for the rest of the ladder, in seconds.
_SECOND = 0.9
_THIRD = 0.4


class Ending(NamedTuple):
    """
    Why the end began, how often a stop was asked for, and when the next rungs come.
    """

    reason: str
    began_at: float
    stops: int = 0
    term_at: float = math.inf
    kill_at: float = math.inf
    gone_at: float = math.inf


def at_deadline(total: float, now: float) -> Ending:
    """
    Begin the end because the time is over.
    """
    return _ladder(Ending("deadline", now), total, now)


def asked_to_stop(ending: Ending | None, total: float, now: float) -> Ending:
    """
    Begin the end, or shorten it: the second stop makes it fast, the third immediate.
    """
    if ending is None:
        return _ladder(Ending("stop signal", now, stops=1), total, now)
    ending = ending._replace(stops=ending.stops + 1)
    if ending.stops == 1:  # the deadline came first
        return _ladder(ending, min(total, ending.gone_at - now), now)
    if ending.stops == 2:
        gone = min(ending.gone_at, now + _SECOND)
        kill = min(ending.kill_at, gone - _KILL_SPARE)
        return ending._replace(term_at=min(ending.term_at, now), kill_at=kill, gone_at=gone)
    return ending._replace(term_at=now, kill_at=now, gone_at=min(ending.gone_at, now + _THIRD))


def _ladder(ending: Ending, total: float, now: float) -> Ending:
    total = max(0.0, total)
    term = max(total / 2, total - _TERM_SPARE)
    kill = max(term, total - _KILL_SPARE)
    return ending._replace(
        term_at=min(ending.term_at, now + term),
        kill_at=min(ending.kill_at, now + kill),
        gone_at=min(ending.gone_at, now + total),
    )
