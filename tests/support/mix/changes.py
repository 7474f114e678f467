"""
What happens to the replicas of a mix: so many changes of what is listed, in every way there is.

They start slowly (listed before they listen), die abruptly (killed while listed, and delisted when
that is noticed) or leave politely: delisted first, told to stop some seconds later as by Nomad's
`shutdown_delay`, and gone when what was open is finished.
"""

import heapq
import itertools
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.support.mix.replica_pool import Farm, Kill, Member

Offer = Callable[[Iterable[tuple[str, int]]], None]

#: So long a replica has to have listened before it goes: by then it serves, wherever it was listed.
_SETTLED = 2.5
#: Seconds between two abrupt deaths: a request is tried on two replicas, and one may be dead.
_APART = 2.5
_FEWEST = 3
_LOAD = (0.2, 1.0)
_NOTICED = (0.3, 0.6)
_SHUTDOWN_DELAY = (2.0, 3.0)


@dataclass
class Story:
    """
    A run of changes; `offer` is told the whole set at each.
    """

    farm: Farm
    offer: Offer
    changes: int
    gap: float
    most: int = 12
    chance: random.Random = field(default_factory=lambda: random.Random(5))
    kills: list[Kill] = field(default_factory=list)
    changed: int = 0
    polite: int = 0

    def __post_init__(self) -> None:
        self._listed: list[Member] = []
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._killed_at = -_APART
        self._planned = 0

    def begin(self, replicas: int) -> None:
        """
        Have so many replicas at once that listen.
        """
        for _ in range(replicas):
            self._listed.append(self.farm.bear(0.0))
        self._offer(is_change=False)

    def tell(self) -> None:
        """
        Play all of it; returns when the last who was told to leave has been told.
        """
        due = time.monotonic()
        while self._planned < self.changes or self._later:
            now = time.monotonic()
            while self._later and self._later[0][0] <= now:
                heapq.heappop(self._later)[2]()
            if now >= due and self._planned < self.changes:
                due = now + self.gap * self.chance.uniform(0.5, 1.5)
                self._happen(now)
            for member in self._listed:
                member.look()
            time.sleep(0.01)

    def _happen(self, now: float) -> None:
        self._planned += 1
        alive = [each for each in self._listed if each.process.is_alive()]
        settled = [each for each in alive if now > (each.listened_at or now) + _SETTLED]
        if len(settled) <= _FEWEST or (len(alive) < self.most and self.chance.random() < 0.5):
            self._listed.append(self.farm.bear(self.chance.uniform(*_LOAD)))
            self._offer()
            return
        victim = self.chance.choice(settled)
        if now > self._killed_at + _APART:
            self._killed_at = now
            self.kills.append(victim.kill())
            self._after(_NOTICED, lambda: self._delist(victim))
        else:
            self._delist(victim)
            self.polite += 1
            self._after(_SHUTDOWN_DELAY, victim.leave)

    def _after(self, span: tuple[float, float], act: Callable[[], None]) -> None:
        at = time.monotonic() + self.chance.uniform(*span)
        heapq.heappush(self._later, (at, next(self._order), act))

    def _delist(self, member: Member) -> None:
        self._listed.remove(member)
        self._offer()

    def _offer(self, *, is_change: bool = True) -> None:
        self.changed += is_change
        self.offer([member.endpoint for member in self._listed])
