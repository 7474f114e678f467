"""
Cost of probing every endpoint, and whether the probes keep up.

The endpoints are one process that counts probes; its own cost is not included.
"""

import json
import random
import time
from dataclasses import dataclass

from benchmarks import scene
from benchmarks.findings import STEADY, Finding, Peer, Unit, middle, once
from benchmarks.report import SPREAD, mb, spread, table
from tests.support.fake_nomad import FakeNomad
from tests.support.footprint import memory_of, processor_time
from tests.support.replica import Replica
from tests.support.waiting import eventually

_INTERVAL = 5.0
_WATCHED = 20.0
_READY_WITHIN = 80.0

#: Number of endpoints, probe type, goals for the share of one processor in percent and RSS in MB.
_CASES = (
    (1_000, "tcp", 10.0, 60.0),
    (1_000, "http", None, 60.0),
    (10_000, "tcp", None, 100.0),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """
    Values over the measured time: percent of one processor, memory in MB, probes per second, and
    the longest pause between two probes of one endpoint.
    """

    processor: float
    rss: float
    probes: float
    gap: float


def measure(rounds: int) -> list[Finding]:
    """
    Measure each size for four intervals after it settles, and the delay until an endpoint serves.
    """
    findings, lines = [_soon(rounds)], []
    for count, how, share, size in _CASES:
        cost = _watch(count, how)
        name = f"{count:,} endpoints by {how}"
        lines.append(
            [
                name,
                f"{cost.processor:.2f} %",
                f"{cost.processor * 1e4 / max(1.0, cost.probes):,.0f} us",
                f"{cost.probes:,.0f}",
                f"{cost.gap:.2f} s",
                mb(cost.rss),
            ]
        )
        if share is not None:
            findings.append(
                Finding(
                    measure=f"processor, {name} every {_INTERVAL:g} s",
                    unit=Unit.PERCENT,
                    ours=once(cost.processor),
                    goal=share,
                )
            )
        findings += [
            Finding(measure=f"RSS, {name}", unit=Unit.MB, ours=once(cost.rss, STEADY), goal=size),
            Finding(
                measure=f"longest pause between two probes, {name}",
                unit=Unit.SECONDS,
                ours=once(cost.gap),
                goal=2 * _INTERVAL,
            ),
        ]
    table(
        f"Probing every {_INTERVAL:g} s, over {_WATCHED:.0f} s",
        ["", "of one processor", "a probe", "probes a second", "longest pause", "RSS"],
        lines,
    )
    return findings


def _soon(rounds: int) -> Finding:
    """Start a listed endpoint repeatedly and measure the time to its first response."""
    spans = []
    with FakeNomad() as nomad, scene.Client() as client, Replica("late") as late:
        late.stop()
        nomad.set(scene.SERVICE, [late.endpoint])
        for _ in range(rounds):
            with scene.ours(nomad, STOP_TIMEOUT="2s") as program:
                program.ready(30, status=503)
                time.sleep(random.uniform(0.2, 0.7))  # at any time between two probes
                client.begin(program.port, 10.0, late.name)
                late.start()
                at = time.monotonic()
                (first,) = client.result()
                spans.append(first.answered_at - at)
                late.stop()
    table(
        "From a listed endpoint's first listen to its first response",
        ["", *SPREAD],
        [["by tcp", *spread(spans)]],
    )
    return Finding(
        measure="a listed endpoint listens -> it serves, p50",
        unit=Unit.MS,
        ours=middle(spans, 1000),
        goal=_READY_WITHIN,
        peers=(Peer("replaced pattern", "at once, with 502 before"),),
    )


def _watch(count: int, how: str) -> Cost:
    with scene.Helper("accepting.py") as endpoints, FakeNomad() as nomad:
        port = int(endpoints.read())
        places = [(f"127.1.{n // 250}.{n % 250 + 1}", port) for n in range(count)]
        nomad.rows(scene.SERVICE, scene.rows(places))
        with scene.ours(nomad, HEALTH_CHECK=how) as program:

            def all_ready() -> bool:
                return any(
                    count == line.get("ready") for line in program.log_lines("health.changed")
                )

            eventually(all_ready, 60)
            time.sleep(2 * _INTERVAL)  # the probes spread over the interval
            endpoints.write("")
            endpoints.read()
            before, began = processor_time(program.pid), time.monotonic()
            time.sleep(_WATCHED)
            used, span = processor_time(program.pid) - before, time.monotonic() - began
            endpoints.write("")
            totals = json.loads(endpoints.read())
            rss = memory_of(program.pid).rss
    return Cost(used / span * 100, rss, totals["probes"] / totals["over"], totals["gap"])
