"""
The results on docs/benchmarks.md, generated from the last saved run by `make docs`.
"""

from collections.abc import Mapping

from benchmarks import report
from benchmarks.last_run import Part

#: The parts in the order of the page.
_TITLES = {
    "change": "A change in the registry",
    "probing": "Probing",
    "flapping": "A replica that crashes",
    "throughput": "Throughput",
    "methods": "Balancing methods",
    "start": "Start",
    "stop": "Stop",
    "deadline": "Deadline",
    "imports": "Imports",
    "memory": "Memory",
    "idle": "At rest",
    "watched": "Metrics and status",
    "soak": "Soak",
    "storm": "Storm",
}


def results(parts: Mapping[str, Part]) -> str:
    """
    Return a table for each saved part, with its date, versions and load.
    """
    found = [_section(title, parts[name]) for name, title in _TITLES.items() if name in parts]
    return "\n\n".join(found) or "No run is saved yet."


def _section(title: str, part: Part) -> str:
    before, after = part.load
    how = (
        f"{part.date}, {', '.join(part.versions)}, {part.processors} processors,"
        f" load {before:.1f} to {after:.1f}."
    )
    return f"### {title}\n\n{report.results(part.findings)}\n\n{how}"
