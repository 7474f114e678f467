"""
The resources that a program and its nginx use at one moment.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.footprint import memory_of
from tests.support.namespaces import MASTER
from tests.support.soak.flatness import Allowance, Judged, judged
from tests.support.supervised import Supervised


@dataclass(frozen=True, slots=True)
class Sample:
    """
    One sample after `changes` changes; sizes are in kilobytes.

    `processes` includes nginx's draining workers.
    """

    changes: int
    files: int
    threads: int
    memory: float
    master_files: int
    master_memory: float
    processes: int
    zombies: int


@dataclass(frozen=True, slots=True)
class Series:
    """
    One resource that must not grow, and its allowance.
    """

    name: str
    value: Callable[[Sample], float]
    allowance: Allowance

    def judged(self, samples: Sequence[Sample]) -> Judged:
        """
        Evaluate it over a run.
        """
        changes = [sample.changes for sample in samples]
        return judged(changes, [self.value(sample) for sample in samples], self.allowance)

    def is_flat(self, samples: Sequence[Sample]) -> bool:
        """
        Whether it has not grown over a run.
        """
        return self.judged(samples).is_flat


#: One leaked object per change adds 1; in a long run a tenth of that is detected.
_COUNTED = Allowance(once=3, per_change=0.02)

#: The same for counts with draining workers, of which a busy machine has more.
_DRAINING = Allowance(once=16, per_change=0.02)

#: For memory: 1 kB per change, which exceeds the noise of allocators only in a longer run.
_HELD = Allowance(once=150, per_change=0.3)

COUNTED = (
    Series("supervisor, open files", lambda s: s.files, _COUNTED),
    Series("supervisor, threads", lambda s: s.threads, _COUNTED),
    Series("nginx master, open files", lambda s: s.master_files, _DRAINING),
    Series("processes, draining workers included", lambda s: s.processes, _DRAINING),
    Series("zombies", lambda s: s.zombies, _COUNTED),
)
HELD = (
    Series("supervisor, RSS in kB", lambda s: s.memory, _HELD),
    Series("nginx master, RSS in kB", lambda s: s.master_memory, _HELD),
)


def take_sample(program: Supervised, changes: int) -> Sample | None:
    """
    Take a sample; None if nginx's master is not visible at this moment.
    """
    processes = program.processes()
    masters = [each.pid for each in processes if each.title.startswith(MASTER)]
    if len(masters) != 1:
        return None
    with contextlib.suppress(OSError):
        return Sample(
            changes=changes,
            files=_count(program.pid, "fd"),
            threads=_count(program.pid, "task"),
            memory=memory_of(program.pid).rss * 1e3,
            master_files=_count(masters[0], "fd"),
            master_memory=memory_of(masters[0]).rss * 1e3,
            processes=len(processes),
            zombies=sum(each.zombie for each in processes),
        )
    return None


def _count(pid: int, what: str) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/{what}").iterdir())
