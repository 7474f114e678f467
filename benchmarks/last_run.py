"""
The last saved run: `last_run.json`, part by part, as the repository keeps it.

Each part has its own date, versions and load, because a part may be measured again alone.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.findings import Finding, Peer, Unit, Value

FILE = Path(__file__).with_suffix(".json")

#: Digits that are saved; more are noise.
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Part:
    """
    The findings of one part, and how they were measured.

    `load` is the machine's load average before and after; `versions` are those of the interpreter,
    of nginx and of the peers.
    """

    date: str
    versions: tuple[str, ...]
    processors: int
    load: tuple[float, float]
    rounds: int
    findings: tuple[Finding, ...]


def read(file: Path = FILE) -> dict[str, Part]:
    """
    Return the saved parts by name, none if no run was saved.
    """
    if not file.exists():
        return {}
    return {name: _part(found) for name, found in json.loads(file.read_text()).items()}


def save(parts: Mapping[str, Part], file: Path = FILE) -> list[str]:
    """
    Replace these parts, keep the others, and return the measures left out: they have no value.
    """
    merged = {**read(file), **parts}
    missing = []
    saved: dict[str, Any] = {}
    for name, part in merged.items():
        kept = [each for each in part.findings if math.isfinite(each.ours.number)]
        missing += [each.measure for each in part.findings if each not in kept]
        saved[name] = _rounded({**asdict(part), "findings": [asdict(each) for each in kept]})
    file.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n")
    return missing


def _rounded(found: object) -> object:
    """Round all numbers; a peer without a value becomes a text, because JSON has no NaN."""
    match found:
        case dict():
            return {name: _rounded(each) for name, each in found.items()}
        case list() | tuple():
            return [_rounded(each) for each in found]
        case float() if not math.isfinite(found):
            return "none"
        case float():
            return float(f"{found:.{_DIGITS}g}")
        case _:
            return found


def _part(found: dict[str, Any]) -> Part:
    given = {
        **found,
        "versions": tuple(found["versions"]),
        "load": tuple(found["load"]),
        "findings": tuple(map(_finding, found["findings"])),
    }
    return Part(**given)


def _finding(found: dict[str, Any]) -> Finding:
    given = {
        **found,
        "unit": Unit(found["unit"]),
        "ours": Value(**found["ours"]),
        "peers": tuple(Peer(**each) for each in found["peers"]),
        "limit": Peer(**found["limit"]) if found["limit"] else None,
    }
    return Finding(**given)
