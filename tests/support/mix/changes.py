"""
The changes of a mix: replicas start, die and stop while the listed endpoints follow.

Replicas start slowly (listed before they listen), are killed (and delisted a moment later), or
stop gracefully: delisted first, terminated some seconds later as with Nomad's `shutdown_delay`,
and gone when their open requests are finished.
"""

import heapq
import itertools
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.support.mix.replica_pool import Kill, Member, ReplicaPool

Offer = Callable[[Iterable[tuple[str, int]]], None]

#: Seconds that a replica has listened before it is stopped: by then it serves in both balancers.
_SETTLED = 2.5
#: Seconds between two kills: a request is tried on two replicas, and one of them may be dead.
_KILL_INTERVAL = 2.5
_MINIMUM = 3
_LOAD = (0.2, 1.0)
_DELIST_DELAY = (0.3, 0.6)
_SHUTDOWN_DELAY = (2.0, 3.0)


@dataclass
class Changes:
    """
    A run of changes; `offer` gets the whole set of endpoints at each.
    """

    pool: ReplicaPool
    offer: Offer
    changes: int
    gap: float
    most: int = 12
    rng: random.Random = field(default_factory=lambda: random.Random(5))
    kills: list[Kill] = field(default_factory=list)
    changed: int = 0
    graceful: int = 0

    def __post_init__(self) -> None:
        self._listed: list[Member] = []
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._killed_at = -_KILL_INTERVAL
        self._planned = 0

    def begin(self, replicas: int) -> None:
        """
        Start this number of replicas, which listen at once.
        """
        for _ in range(replicas):
            self._listed.append(self.pool.start(0.0))
        self._offer(is_change=False)

    def play(self) -> None:
        """
        Make all changes; return after the last terminated replica got its signal.
        """
        due = time.monotonic()
        while self._planned < self.changes or self._later:
            now = time.monotonic()
            while self._later and self._later[0][0] <= now:
                heapq.heappop(self._later)[2]()
            if now >= due and self._planned < self.changes:
                due = now + self.gap * self.rng.uniform(0.5, 1.5)
                self._change(now)
            for member in self._listed:
                member.check_listening()
            time.sleep(0.01)

    def _change(self, now: float) -> None:
        self._planned += 1
        alive = [each for each in self._listed if each.process.is_alive()]
        settled = [each for each in alive if now > (each.listened_at or now) + _SETTLED]
        if len(settled) <= _MINIMUM or (len(alive) < self.most and self.rng.random() < 0.5):
            self._listed.append(self.pool.start(self.rng.uniform(*_LOAD)))
            self._offer()
            return
        victim = self.rng.choice(settled)
        if now > self._killed_at + _KILL_INTERVAL:
            self._killed_at = now
            self.kills.append(victim.kill())
            self._after(_DELIST_DELAY, lambda: self._delist(victim))
        else:
            self._delist(victim)
            self.graceful += 1
            self._after(_SHUTDOWN_DELAY, victim.terminate)

    def _after(self, span: tuple[float, float], act: Callable[[], None]) -> None:
        at = time.monotonic() + self.rng.uniform(*span)
        heapq.heappush(self._later, (at, next(self._order), act))

    def _delist(self, member: Member) -> None:
        self._listed.remove(member)
        self._offer()

    def _offer(self, *, is_change: bool = True) -> None:
        self.changed += is_change
        self.offer([member.endpoint for member in self._listed])
