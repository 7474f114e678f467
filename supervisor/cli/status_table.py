"""
The status as a table for a terminal.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from supervisor.core import words
from supervisor.core.durations import format_span

#: Maximum rows of endpoints and of reloads; further endpoints are counted.
_MAX_ENDPOINTS = 30
_MAX_RELOADS = 5

#: How much of an ID Nomad's commands print, and accept.
_SHORT_ID = 8


def table(status: dict[str, Any]) -> str:
    """
    Format a status document as lines of text.
    """
    return "\n".join(_lines(status))


def _lines(status: dict[str, Any]) -> Iterator[str]:
    deadline, endpoints, nginx = status["deadline"], status["endpoints"], status["nginx"]
    state = "ready" if status["ready"] else "not ready"
    yield f"{status['title']}: {words.service(status['phase'], status['mode'])}, {state}"
    if status["ending"]:
        within = format_span(status["ending"]["gone_within"])
        yield f"shutdown    {status['ending']['reason']}, complete within {within}"
    elif deadline["at"] is None:
        yield f"deadline    never ({deadline['origin']})"
    else:
        moved = f", planned {_moment(deadline['planned'])}" if deadline["extended_to"] else ""
        moved += f", moved by {deadline['moved_by']}" if deadline["moved_by"] else ""
        left = format_span(round(deadline["remaining"]))
        yield f"deadline    {_moment(deadline['at'])}, in {left} ({deadline['origin']}{moved})"
    if status["idle"] and not status["ending"]:
        yield f"idle        {_idle(status['idle'])}"
    yield f"endpoints   {endpoints['serving']} of {endpoints['known']} serving"
    version, state = status["versions"]["nginx"], words.master(nginx["health"])
    yield f"nginx       {version}, {state}{_traffic(nginx)}"
    workers = sum(generation["workers"] for generation in nginx["draining"])
    if workers:
        yield f"draining    {len(nginx['draining'])} old generations with {workers} workers"
    for source in status["sources"]:
        age = "no response yet" if source["age"] is None else f"responded {_ago(source['age'])}"
        error = f", failing: {source['last_error']}" if source["failing_since"] else ""
        yield f"source      {source['name']}: {age}{error}"
    for warning in status["warnings"]:
        yield f"warning     {warning['text']}"
    yield from _endpoints(endpoints)
    yield from _reloads(status["reloads"])


def _idle(idle: dict[str, Any]) -> str:
    limit = format_span(idle["timeout"])
    if idle["unknown"]:
        return f"unknown (IDLE_TIMEOUT={limit}): {idle['unknown']}"
    if idle["remaining"] is None:
        return f"counts from the first endpoint that is served (IDLE_TIMEOUT={limit})"
    spent, left = (format_span(round(idle[name])) for name in ("idle_for", "remaining"))
    return f"for {spent}, shutdown in {left} unless a request arrives (IDLE_TIMEOUT={limit})"


def _endpoints(endpoints: dict[str, Any]) -> Iterator[str]:
    rows = [
        (
            row["address"],
            row["health"],
            _moment(row["since"]),
            "yes" if row["serving"] else "no",
            (row["allocation"] or "-")[:_SHORT_ID],
            (row["node"] or "-")[:_SHORT_ID],
            row["job"] or "-",
            _last_probe(row["last_probe"]),
        )
        for row in endpoints["rows"][:_MAX_ENDPOINTS]
    ]
    if rows:
        head = ("ENDPOINT", "HEALTH", "SINCE", "SERVING", "ALLOC", "NODE", "JOB", "LAST PROBE")
        # Only Nomad has allocations, nodes and jobs.
        columns = 7 if any({*row[4:7]} != {"-"} for row in rows) else 4
        yield ""
        yield from _aligned([(*row[:columns], row[7]) for row in (head, *rows)])
    more = endpoints["known"] - len(rows)
    if more:
        yield f"and {more} more; use --json to list them"


def _last_probe(report: dict[str, Any] | None) -> str:
    return "-" if report is None else f"{report['outcome']} at {report['at'][11:19]}Z"


def _reloads(reloads: dict[str, Any]) -> Iterator[str]:
    rows = [
        (
            _moment(row["at"]),
            row["result"].replace("_", " "),
            f"{row['took']:.2f}s",
            row["why"] if row["reason"] is None else f"{row['why']}: {row['reason']}",
        )
        for row in reloads["last"][:_MAX_RELOADS]
    ]
    if rows:
        yield ""
        yield from _aligned([("RELOAD", "RESULT", "DURATION", "WHY"), *rows])


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(_padded(row, widths)).rstrip()


def _padded(row: Iterable[str], widths: Iterable[int]) -> Iterator[str]:
    return (cell.ljust(width) for cell, width in zip(row, widths, strict=True))


def _traffic(nginx: dict[str, Any]) -> str:
    clients = nginx["clients"]
    if clients is None:
        return ""
    return f", {clients['connections']} client connections, {clients['requests']} requests"


def _moment(text: str | None) -> str:
    """Shorten an instant to seconds: `2026-11-25 21:30:00Z`."""
    return "-" if text is None else f"{text[:10]} {text[11:19]}Z"


def _ago(seconds: float) -> str:
    return f"{format_span(round(seconds))} ago" if seconds >= 1 else "just now"
