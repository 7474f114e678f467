"""
Renews the table of steps in docs/migrating.md from what the last `make e2e` saw.

The run keeps a line for each step and subject in build/steps.json; a step that one of the two did
not take is left out, and said.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SEEN = ROOT / "build" / "steps.json"
PAGE = ROOT / "docs" / "migrating.md"
BEGIN, END = "<!-- make steps: begin -->", "<!-- make steps: end -->"

SUBJECTS = ("old", "ours")
ABOUT = "about"


def table(seen: dict[str, dict[str, str]]) -> str:
    """Write the rows, in the order of the run, and below them what ran."""
    rows = ["| step | with the old pattern | with autoexit-nginx |", "|---|---|---|"]
    for step, lines in seen.items():
        if set(SUBJECTS) <= lines.keys():
            rows.append(f"| {step} | {lines['old']} | {lines['ours']} |")
    return "\n".join([*rows, "", seen.get(ABOUT, {}).get("ours", "")]).rstrip()


def main() -> int:
    """Write the page."""
    if not SEEN.exists():
        print(f"cannot find {SEEN}: make e2e makes it", file=sys.stderr)
        return 1
    seen = json.loads(SEEN.read_text())
    halves = [step for step, lines in seen.items() if step != ABOUT and len(lines) < len(SUBJECTS)]
    if halves:
        print(f"left out, seen of one only: {', '.join(halves)}", file=sys.stderr)
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table(seen)}\n{END}{rest.split(END)[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
