"""
Updates the table of steps in docs/migrating.md from the results of the last `make e2e`.

The run writes a line for each step and subject to build/steps.json; a step that only one of the two
subjects ran is omitted and reported.
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
    """Return the rows in the order of the run, followed by the versions used."""
    rows = ["| step | with the old pattern | with autoexit-nginx |", "|---|---|---|"]
    for step, lines in seen.items():
        if set(SUBJECTS) <= lines.keys():
            rows.append(f"| {step} | {lines['old']} | {lines['ours']} |")
    return "\n".join([*rows, "", seen.get(ABOUT, {}).get("ours", "")]).rstrip()


def main() -> int:
    """Update the page."""
    if not SEEN.exists():
        print(f"cannot find {SEEN}: run `make e2e` first", file=sys.stderr)
        return 1
    seen = json.loads(SEEN.read_text())
    halves = [step for step, lines in seen.items() if step != ABOUT and len(lines) < len(SUBJECTS)]
    if halves:
        print(f"omitted, only one subject ran them: {', '.join(halves)}", file=sys.stderr)
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table(seen)}\n{END}{rest.split(END)[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
