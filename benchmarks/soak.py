"""
Catalogue L10: change and load the program for a given time, and check that nothing grows.

Run as `python -m benchmarks.soak 10m`; exits with 1 if a request failed or a series is not flat.
`--leak` adds a leak to the program first, to check that it is detected.
"""

import argparse
import os
import sys

from benchmarks import last_run, machine
from benchmarks.findings import Finding, Unit, count
from benchmarks.report import table
from supervisor.core.durations import parse_span
from tests.support import nginxes
from tests.support.clean_environment import clean_python
from tests.support.soak.leaks import LEAKS, leaking
from tests.support.soak.run import SoakResult, soak
from tests.support.soak.samples import COUNTED, HELD

_RUN = ("-m", "supervisor", "run")


def main() -> int:
    """
    Return 0 if no request failed and every series is flat.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=__doc__)
    parser.add_argument(
        "duration",
        nargs="?",
        default="10m",
        help="10m or longer, such as 24h; before that memory still warms up",
    )
    parser.add_argument("--leak", choices=LEAKS, help="add this leak")
    parser.add_argument("--save", action="store_true", help="keep the results for the page")
    arguments = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/usr/local/sbin"  # where Debian installs nginx
    python = str(clean_python())
    command = leaking(python, arguments.leak) if arguments.leak else (python, *_RUN)
    binary, before = nginxes.current() or "nginx", machine.load()
    found = soak(parse_span(arguments.duration), command=command, NGINX_BINARY=binary)
    findings = _report(found, nginxes.name_of(binary))
    if arguments.save:
        last_run.save({"soak": machine.part(findings, 1, before)})
    return 0 if all(each.holds for each in findings) else 1


def _report(found: SoakResult, nginx: str) -> list[Finding]:
    counts = [f"{count:,} {kind}" for kind, count in sorted(found.answered.items())]
    table(
        f"Soak: {found.seconds:,.0f} s on {nginx}, access log on",
        ["what", "count"],
        [
            ["changes in the registry", f"{found.changes:,}"],
            ["reloads applied", f"{found.reloads:,}"],
            ["Nomad unavailable, alternately refusing and returning 500", f"{found.away:,.0f} s"],
            ["requests answered", f"{found.answered.total():,}: {', '.join(counts)}"],
            ["requests failed", f"{found.failed.total():,}"],
            ["requests in the access log", f"{found.logged:,}"],
            ["errors and unexpected warnings logged", f"{len(found.bad):,}"],
        ],
    )
    rows, grown = [], 0
    for series in (*COUNTED, *HELD):
        one = series.judged(found.samples)
        grown += not one.is_flat
        rows.append(
            [
                series.name,
                f"{one.first:,.0f}",
                f"{one.last:,.0f}",
                f"{one.most:,.0f}",
                f"{one.per_change:+.4f}",
                f"{one.risen:+,.1f}",
                f"{one.allowed:,.0f}",
                "yes" if one.is_flat else "**no**",
            ]
        )
    head = ["series", "first tenth", "last tenth", "most", "per change", "risen", "allowed", "flat"]
    table("Flat over the second half", head, rows)
    for line in [*found.last, *map(str, found.bad[:20])]:
        print(line, file=sys.stderr)
    whole = f"{found.seconds:,.0f} s of changes and traffic, {nginx}"
    return [
        Finding(measure=f"{whole}: {what}", unit=Unit.COUNT, ours=count(number), goal=goal)
        for what, number, goal in (
            ("requests answered", found.answered.total(), None),
            ("reloads applied", found.reloads, None),
            ("requests failed", found.failed.total(), 0),
            ("series that grew", grown, 0),
            ("errors and unexpected warnings logged", len(found.bad), 0),
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
