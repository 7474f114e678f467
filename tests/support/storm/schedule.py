"""
Which faults a storm has and when: a function of the seed alone.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from tests.support.storm.faults import KINDS, Kind

REPLICAS = 10

#: At most this number of replicas has a fault at a time, so that several are always well.
_SUFFERING = 3

#: Seconds without a fault at the beginning, and between faults on average.
_FIRST = 2.0
_EVERY = 0.8


@dataclass(frozen=True, slots=True)
class Planned:
    """
    One fault `at` seconds from the beginning for `seconds`, on these replicas; `chance` in [0, 1)
    decides what the kind leaves open, such as which worker.
    """

    at: float
    kind: Kind
    seconds: float
    replicas: tuple[int, ...]
    chance: float


def schedule(seed: int, seconds: float) -> list[Planned]:
    """
    Return the faults that begin within `seconds`; a longer storm begins with those of a shorter.
    """
    return list(takewhile(lambda planned: planned.at < seconds, _endless(random.Random(seed))))


def _endless(rng: random.Random) -> Iterator[Planned]:
    at = _FIRST
    free: dict[str, float] = {}
    last_apart = -1000.0
    while True:
        at += min(5.0, rng.expovariate(1 / _EVERY))
        (kind,) = rng.choices(KINDS, [kind.weight for kind in KINDS])
        seconds = rng.uniform(kind.least, kind.most)
        wanted = rng.randint(*kind.replicas)
        well = [n for n in range(REPLICAS) if free.get(f"replica {n}", 0) <= at]
        replicas = tuple(sorted(rng.sample(well, min(wanted, len(well)))))
        chance = rng.random()
        if kind.part == "replica":
            if REPLICAS - len(well) + wanted > _SUFFERING:
                continue
        elif free.get(kind.part, 0) > at:
            continue
        if kind.apart:
            if at - last_apart < kind.apart:
                continue
            last_apart = at
        # A second without the same part suffering keeps its faults apart on a busy machine.
        for part in [f"replica {n}" for n in replicas] or [kind.part]:
            free[part] = at + seconds + 1.0
        yield Planned(at, kind, seconds, replicas, chance)
