"""
The status as a person reads it in a terminal.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from supervisor.core.durations import format_span

#: So many rows of endpoints, and of reloads, are shown; the rest is counted.
_ENDPOINTS = 30
_RELOADS = 5


def table(found: dict[str, Any]) -> str:
    """
    Write a status document as lines.
    """
    return "\n".join(_lines(found))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    ends, places, nginx = found["deadline"], found["endpoints"], found["nginx"]
    state = "ready" if found["ready"] else "not ready"
    yield f"{found['service']}: {found['phase']}, {found['mode']}, {state}"
    if found["ending"]:
        within = format_span(found["ending"]["gone_within"])
        yield f"ending      {found['ending']['reason']}, gone within {within}"
    elif ends["at"] is None:
        yield f"ends        never ({ends['origin']})"
    else:
        moved = f", planned {_moment(ends['planned'])}" if ends["extended_to"] else ""
        left = format_span(round(ends["remaining"]))
        yield f"ends        {_moment(ends['at'])}, in {left} ({ends['origin']}{moved})"
    yield f"endpoints   {places['serving']} of {places['known']} serve"
    yield f"nginx       {found['versions']['nginx']}, {nginx['health']}{_traffic(nginx)}"
    old = sum(each["workers"] for each in nginx["draining"])
    if old:
        yield f"draining    {len(nginx['draining'])} old generations with {old} workers"
    for source in found["sources"]:
        age = "never heard" if source["age"] is None else f"heard {_ago(source['age'])}"
        trouble = f", failing: {source['last_error']}" if source["failing_since"] else ""
        yield f"source      {source['name']}: {age}{trouble}"
    for warning in found["warnings"]:
        yield f"warning     {warning['text']}"
    yield from _endpoints(places)
    yield from _reloads(found["reloads"])


def _endpoints(places: dict[str, Any]) -> Iterator[str]:
    rows = [
        (row["address"], row["health"], _moment(row["since"]), "yes" if row["serving"] else "no")
        for row in places["rows"][:_ENDPOINTS]
    ]
    if rows:
        yield ""
        yield from _aligned([("ENDPOINT", "HEALTH", "SINCE", "SERVES"), *rows])
    more = places["known"] - len(rows)
    if more:
        yield f"and {more} more: --json has them"


def _reloads(reloads: dict[str, Any]) -> Iterator[str]:
    rows = [
        (
            _moment(row["at"]),
            row["result"],
            f"{row['took']:.2f}s",
            row["why"] if row["reason"] is None else f"{row['why']}: {row['reason']}",
        )
        for row in reloads["last"][:_RELOADS]
    ]
    if rows:
        yield ""
        yield from _aligned([("RELOAD", "RESULT", "TOOK", "WHY"), *rows])


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(_padded(row, widths)).rstrip()


def _padded(row: Iterable[str], widths: Iterable[int]) -> Iterator[str]:
    return (word.ljust(width) for word, width in zip(row, widths, strict=True))


def _traffic(nginx: dict[str, Any]) -> str:
    found = nginx["connections"]
    return "" if found is None else f", {found['active']} connections, {found['requests']} requests"


def _moment(text: str | None) -> str:
    """Shorten an instant to what is read: `2026-11-25 21:30:00Z`."""
    return "-" if text is None else f"{text[:10]} {text[11:19]}Z"


def _ago(seconds: float) -> str:
    return f"{format_span(round(seconds))} ago" if seconds >= 1 else "just now"
