"""
Import cost of the supervisor, against a bare interpreter with the four given packages.
"""

from benchmarks.report import Finding, mb, median, ms, table
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
    given, all_of_it = _KINDS.keys() - {"nothing", "the supervisor"}, "the supervisor"
    base = given.pop()
    ratios = [b.seconds / a.seconds for a, b in zip(costs[base], costs[all_of_it], strict=True)]
    return [
        Finding(
            "import time, against the four packages alone",
            "informative",
            f"{ms(took[all_of_it])}, {median(ratios):.2f} times",
            "none: bash",
            holds=True,
        )
    ]
