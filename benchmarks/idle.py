"""
Processor time of the supervising process while idle.

All programs idle at the same time, so that five runs take no longer than one.
"""

import contextlib
import time
from dataclasses import dataclass

from benchmarks import scene
from benchmarks.findings import Finding, Peer, Unit, median, middle
from benchmarks.report import table
from tests.support.fake_nomad import FakeNomad
from tests.support.footprint import processor_time
from tests.support.supervised import Supervised

_REST = 30.0
_SETTLE = 2.0
_GOAL = 0.2


@dataclass(frozen=True, slots=True)
class Share:
    """
    Percent of one processor: the supervising process, and the same with its child processes.
    """

    own: float
    family: float


def measure(rounds: int) -> list[Finding]:
    """
    Start all, let them settle, and measure their processor time over half a minute.
    """
    runs = max(2, rounds // 2)
    with contextlib.ExitStack() as stack:
        programs: list[Supervised] = []
        olds: list[Supervised] = []
        replicas = stack.enter_context(scene.Replicas())
        for _ in range(runs):
            nomad = stack.enter_context(FakeNomad())
            nomad.set(scene.SERVICE, replicas.endpoints(1, 10))
            programs.append(stack.enter_context(scene.ours(nomad)))
            olds.append(stack.enter_context(scene.replaced([("10.1.0.1", 8000)])))
        for program in (*programs, *olds):
            program.ready(30)
        time.sleep(_SETTLE)
        ours, old = _rest(programs), _rest(olds)
    table(
        f"Processor, {_REST:.0f} s at rest (median of {runs})",
        ["of one processor", "ours", "ours, worst", "replaced pattern"],
        [
            [
                "the supervising process",
                _percent(median(s.own for s in ours)),
                _percent(max(s.own for s in ours)),
                _percent(median(s.own for s in old)),
            ],
            [
                "with nginx",
                _percent(median(s.family for s in ours)),
                _percent(max(s.family for s in ours)),
                _percent(median(s.family for s in old)),
            ],
        ],
    )
    return [
        Finding(
            measure=f"processor over {_REST:.0f} s at rest, 10 endpoints probed",
            unit=Unit.PERCENT,
            ours=middle(s.own for s in ours),
            goal=_GOAL,
            peers=(Peer("replaced pattern", median(s.own for s in old)),),
        )
    ]


def _rest(programs: list[Supervised]) -> list[Share]:
    families = [[p.pid for p in program.processes()] for program in programs]
    began = time.monotonic()
    before = [(processor_time(p.pid), _total(f)) for p, f in zip(programs, families, strict=True)]
    time.sleep(_REST)
    after = [(processor_time(p.pid), _total(f)) for p, f in zip(programs, families, strict=True)]
    span = (time.monotonic() - began) / 100
    return [
        Share((own - own_before) / span, (all_ - all_before) / span)
        for (own_before, all_before), (own, all_) in zip(before, after, strict=True)
    ]


def _total(family: list[int]) -> float:
    return sum(processor_time(pid) for pid in family)


def _percent(share: float) -> str:
    return f"{share:.3f} %"
