"""
Import cost of the supervisor, against a bare interpreter with the four given packages.
"""

from benchmarks.findings import Finding, Peer, Unit, median, middle
from benchmarks.report import mb, ms, table
from tests.support.clean_environment import clean_python
from tests.support.footprint import DEPENDENCIES, SUPERVISOR_IMPORTS, Cost, cost_of

_KINDS = {
    "nothing": "pass",
    "the four given packages": DEPENDENCIES,
    "the supervisor": SUPERVISOR_IMPORTS,
}


def measure(rounds: int) -> list[Finding]:
    """
    Import alternately, each time in a new interpreter.
    """
    costs: dict[str, list[Cost]] = {kind: [] for kind in _KINDS}
    for _ in range(rounds + 1):  # the first round may still write compiled files
        for kind, lines in _KINDS.items():
            costs[kind].append(cost_of(clean_python(), lines))
    for found in costs.values():
        del found[0]
    took = {kind: median(c.seconds for c in found) for kind, found in costs.items()}
    held = {kind: median(c.memory.rss for c in found) for kind, found in costs.items()}
    loaded = {kind: len(found[0].modules) for kind, found in costs.items()}
    table(
        f"Importing, in a new interpreter (median of {rounds})",
        ["imported", "time", "RSS", "modules"],
        [[kind, ms(took[kind]), mb(held[kind]), str(loaded[kind])] for kind in _KINDS],
    )
    base, all_of_it = "the four given packages", "the supervisor"
    ratios = [b.seconds / a.seconds for a, b in zip(costs[base], costs[all_of_it], strict=True)]
    return [
        Finding(
            measure="import time",
            unit=Unit.MS,
            ours=middle((c.seconds for c in costs[all_of_it]), 1000),
            limit=Peer(base, took[base] * 1000),
        ),
        Finding(
            measure="import time, against the four packages alone",
            unit=Unit.TIMES,
            ours=middle(ratios),
        ),
    ]
