"""
The drain ladder: three instants that guarantee that a shutdown completes within its total time.

The process gets its graceful signal at once (QUIT for nginx, TERM for a command), TERM at the later
of half the total and one second before its end, and KILL 0.3 s before its end.  Each further stop
signal shortens what is left.

Used for nginx and for a command under `exec`; standard library only and Python 3.9, because it
ships in the single file.  All instants are seconds on the caller's monotonic clock.
"""

from __future__ import annotations

import math
from typing import NamedTuple

#: Before the end of the ladder: the last second belongs to TERM, the last 0.3 s to KILL.
_TERM_SPARE = 1.0
_KILL_SPARE = 0.3

#: What a second and a third stop signal leave of the ladder, in seconds.
_AFTER_SECOND_STOP = 0.9
_AFTER_THIRD_STOP = 0.4


class DrainLadder(NamedTuple):
    """
    The reason and begin of the drain, the number of stop signals, and when the steps are due.

    `began_at` is infinite until the drain begins.
    """

    reason: str = ""
    stops: int = 0
    began_at: float = math.inf
    term_at: float = math.inf
    kill_at: float = math.inf
    gone_at: float = math.inf

    @property
    def has_begun(self) -> bool:
        """Whether the drain has begun."""
        return self.began_at < math.inf

    def begin(self, reason: str, total: float, now: float) -> DrainLadder:
        """
        Begin the drain: everything ends within `total` seconds.
        """
        return _within(self._replace(reason=reason, began_at=now), total, now)

    def stop(self, total: float, now: float) -> DrainLadder:
        """
        Count a stop signal: the first begins the drain, the second leaves 0.9 s, the third 0.4 s.
        """
        ladder = self._replace(stops=self.stops + 1)
        if not ladder.has_begun:
            return ladder.begin(ladder.reason or "stop signal", total, now)
        if ladder.stops == 1:  # the deadline began the drain
            return _within(ladder, min(total, ladder.gone_at - now), now)
        if ladder.stops == 2:
            gone = min(ladder.gone_at, now + _AFTER_SECOND_STOP)
            kill = min(ladder.kill_at, gone - _KILL_SPARE)
            return ladder._replace(term_at=min(ladder.term_at, now), kill_at=kill, gone_at=gone)
        gone = min(ladder.gone_at, now + _AFTER_THIRD_STOP)
        return ladder._replace(term_at=now, kill_at=now, gone_at=gone)


def _within(ladder: DrainLadder, total: float, now: float) -> DrainLadder:
    """Plan the steps so that everything ends within `total` seconds, and no later than planned."""
    total = max(0.0, total)
    term = max(total / 2, total - _TERM_SPARE)
    kill = max(term, total - _KILL_SPARE)
    return ladder._replace(
        term_at=min(ladder.term_at, now + term),
        kill_at=min(ladder.kill_at, now + kill),
        gone_at=min(ladder.gone_at, now + total),
    )
