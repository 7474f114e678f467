"""
Formats results: medians, markdown tables, and the verdict against the goals.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One line of the verdict: the goal, and the values measured for both programs.
    """

    measure: str
    goal: str
    ours: str
    replaced: str
    holds: bool


def median(values: Iterable[float]) -> float:
    """
    Return the median, or NaN for no values.
    """
    found = list(values)
    return statistics.median(found) if found else math.nan


def percentile(values: Iterable[float], share: float) -> float:
    """
    Return the smallest value that `share` percent of all values do not exceed.
    """
    ordered = sorted(values) or [math.nan]
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)]


def ms(seconds: float) -> str:
    """
    Format a duration in milliseconds, with a decimal if it is below 100 ms.
    """
    return f"{seconds * 1000:,.0f} ms" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"


def mb(megabytes: float) -> str:
    """
    Format a size in megabytes.
    """
    return f"{megabytes:.1f} MB"


def spread(values: Sequence[float]) -> list[str]:
    """
    Format the median, the 99th percentile, the maximum and the count of durations in seconds.
    """
    return [
        ms(median(values)),
        ms(percentile(values, 99)),
        ms(percentile(values, 100)),
        str(len(values)),
    ]


SPREAD = ["median", "p99", "worst", "runs"]


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """
    Print a table with the first column left-aligned and the others right-aligned.
    """
    ruler = ["---", *["---:"] * (len(head) - 1)]
    print(f"\n### {title}\n")
    for row in (head, ruler, *rows):
        print(f"| {' | '.join(row)} |", flush=True)


def verdict(findings: Iterable[Finding]) -> None:
    """
    Print all findings against their goals.
    """
    rows = [
        [f.measure, f.goal, f.ours, f.replaced, "yes" if f.holds else "**no**"] for f in findings
    ]
    table("Verdict", ["measurement", "goal", "ours", "replaced pattern", "met"], rows)
