"""
Run the cases P, D and F once against the replaced pattern and record the results.

Prints a line per case, and updates the last column of the table in docs/migrating.md.  Arguments
are passed to pytest (`make old ARGS='-k D01'`); then only the cases that ran are updated.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "migrating.md"
BEGIN, END = "<!-- make old: begin -->", "<!-- make old: end -->"
ROW = re.compile(r"^(\| ([PDF]\d\d) \|.*\|)([^|]*)\|$", re.MULTILINE)

Counts = dict[str, dict[str, int]]


def main() -> int:
    """
    Run the cases, print the results, update the table.
    """
    counts = run()
    if not counts:
        print("cannot update the table: no test ran", file=sys.stderr)
        return 1
    for case, outcomes in sorted(counts.items()):
        print(f"{case}  {verdict(outcomes)}")
    unlisted = write(counts, whole=not sys.argv[1:])
    if unlisted:
        names = ", ".join(unlisted)
        print(f"cannot update all rows: add {names} to {PAGE.name}", file=sys.stderr)
    return 1 if unlisted else 0


def write(counts: Counts, *, whole: bool) -> list[str]:
    """
    Update all rows, or those of the cases that ran; return the cases that have no row.
    """
    before, rest = PAGE.read_text().split(BEGIN)
    table, after = rest.split(END)

    def renewed(row: re.Match[str]) -> str:
        known = whole or row[2] in counts
        return f"{row[1]} {verdict(counts.get(row[2], {})) if known else row[3].strip()} |"

    PAGE.write_text(f"{before}{BEGIN}{ROW.sub(renewed, table)}{END}{after}")
    return sorted(counts.keys() - {row[2] for row in ROW.finditer(table)})


def run() -> Counts:
    """
    Return the number of passed and failed tests for each case.
    """
    tiers = ["tests/pid1", "tests/integration"]
    workers = os.environ.get("WORKERS", "4")
    words = ["-q", "-p", "tests.support.case_counts", "-n", workers, "-r", "", "--timeout=60"]
    with tempfile.NamedTemporaryFile("r") as report:
        environ = {**os.environ, "AUTOEXIT_SUBJECT": "old", "AUTOEXIT_CASE_COUNTS": report.name}
        command = [sys.executable, "-m", "pytest", *words, "--tb=no", "--dist=worksteal", *tiers]
        subprocess.run([*command, *sys.argv[1:]], env=environ, check=False)
        counts: Counts = json.loads(report.read() or "{}")
    return counts


def verdict(outcomes: dict[str, int]) -> str:
    """
    Return the result of a case in a few words.
    """
    passed, failed = outcomes.get("passed", 0), outcomes.get("failed", 0)
    if failed and passed:
        return f"fails {failed} of {passed + failed}"
    if failed:
        return "fails"
    return "passes" if passed else "not run"


if __name__ == "__main__":
    sys.exit(main())
