"""
Formats results as markdown: numbers with their units, tables, the verdict and the comparison.
"""

from collections.abc import Iterable, Sequence

from benchmarks.comparison import Comparison
from benchmarks.findings import Finding, Peer, Unit, Value, median, percentile

RESULTS = ["measure", "goal", "ours", "peers", "limit", "met"]
COMPARED = ["measure", "last committed run", "this run", "change", "moved"]
SPREAD = ["median", "p99", "worst", "runs"]


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


def number(found: float, unit: Unit) -> str:
    """
    Format a number with its unit, to the digits that mean something.
    """
    match unit:
        case Unit.MS:
            return ms(found / 1000)
        case Unit.MB:
            return mb(found)
        case Unit.US:
            return f"{found:,.1f} us"
        case Unit.SECONDS:
            return f"{found:,.1f} s"
        case Unit.PERCENT:
            return f"{found:.3f} %" if found < 1 else f"{found:.1f} %"
        case Unit.TIMES:
            return f"{found:.3f}"
        case Unit.RATE:
            return f"{found:,.0f} requests/s"
        case Unit.COUNT:
            return f"{found:,.0f}"


def value(found: Value, unit: Unit) -> str:
    """
    Format a value with its noise, if it has any.
    """
    if not found.noise > 0:
        return number(found.number, unit)
    return f"{number(found.number, unit)} ± {number(found.noise, unit).split()[0]}"


def goal(finding: Finding) -> str:
    """
    Format a goal; without one the measure is informative.
    """
    if finding.goal is None:
        return "informative"
    if finding.goal == 0:
        return "0"
    limit = number(finding.goal, finding.unit)
    return f"{'>=' if finding.higher_is_better else '<'} {limit}"


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


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    Return a table with the first column left-aligned and the others right-aligned.
    """
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ruler, *rows))


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """
    Print a table under its title.
    """
    print(f"\n### {title}\n\n{markdown(head, rows)}", flush=True)


def results(findings: Iterable[Finding]) -> str:
    """
    Return the table of findings against their goals, the peers and the limit.
    """
    return markdown(
        RESULTS,
        [
            [
                each.measure,
                goal(each),
                value(each.ours, each.unit),
                ", ".join(_peer(peer, each.unit) for peer in each.peers),
                _peer(each.limit, each.unit) if each.limit else "",
                ("yes" if each.holds else "**no**") if each.goal is not None else "",
            ]
            for each in findings
        ],
    )


def compared(comparisons: Iterable[Comparison]) -> str:
    """
    Return the table of what this run changed against the last saved one.
    """
    return markdown(
        COMPARED,
        [
            [
                each.measure,
                value(each.last, each.unit) if each.last else "not measured",
                value(each.this, each.unit) if each.this else "not measured",
                _change(each),
                _moved(each),
            ]
            for each in comparisons
        ],
    )


def _peer(peer: Peer, unit: Unit) -> str:
    found = peer.found if isinstance(peer.found, str) else number(peer.found, unit)
    return f"{peer.name}: {found}"


def _change(each: Comparison) -> str:
    if each.last is None or each.difference is None:
        return ""
    if each.unit is Unit.COUNT or not each.last.number:
        return f"{each.difference:+,.0f}"
    return f"{each.difference / each.last.number * 100:+.0f} %"


def _moved(each: Comparison) -> str:
    if not each.has_moved:
        return ""
    return "better" if each.is_better else "**worse**"
