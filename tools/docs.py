"""
Regenerates the parts of the documents that are derived from the code, or from the last saved run.

A generated part is enclosed by two comments that name it; the rest of a document is written by
hand.  `python -m tools.docs` writes, `python -m tools.docs --check` only lists stale documents.
"""

import re
import sys
import tomllib
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from benchmarks import last_run, page
from supervisor.core import lifecycle, nginx_master, reload
from supervisor.core.config import load

ROOT = Path(__file__).parent.parent
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
DOCUMENTS = ("README.md", "docs/architecture.md", "docs/benchmarks.md")


def settings_table() -> str:
    """Return the table of all settings."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    rows += [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in load.table()]
    return "\n".join(rows)


def diagram(changes: dict[StrEnum, frozenset[StrEnum]]) -> str:
    """Return a table of allowed transitions as a Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {next(iter(changes))}"]
    for start, ends in changes.items():
        lines += [f"    {start} --> {end}" for end in changes if end in ends]
        if not ends:
            lines.append(f"    {start} --> [*]")
    return "\n".join([*lines, "```"])


def layers(contract: str) -> str:
    """Return the layers of an import contract, the top one first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    found = next(each["layers"] for each in contracts if each["id"] == contract)
    return "\n".join(["```text", *(layer.replace(" | ", "  ") for layer in found), "```"])


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "lifetime": lambda: diagram(dict(lifecycle.CHANGES)),
    "master": lambda: diagram(dict(nginx_master.CHANGES)),
    "rollout": lambda: diagram(dict(reload.CHANGES)),
    "floors": lambda: layers("floors"),
    "core": lambda: layers("core"),
    "results": lambda: page.results(last_run.read()),
}


def renewed(text: str) -> str:
    """Return a document with every generated part regenerated."""
    return PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}\n{found[3]}", text)


def main(arguments: list[str]) -> int:
    """Write the stale documents, or with --check list them and return 1."""
    stale = []
    for name in DOCUMENTS:
        path = ROOT / name
        if path.exists() and renewed(path.read_text()) != path.read_text():
            stale.append(name)
            if "--check" not in arguments:
                path.write_text(renewed(path.read_text()))
    if stale and "--check" in arguments:
        print(f"cannot accept {', '.join(stale)}: generated parts are stale, run `make docs`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
