"""
Catalogue L10: change and load the program for as long as one likes, and see whether anything grows.

Run as `python -m benchmarks.soak 10m`; ends with 1 when a request failed or something is not flat.
`--leak` plants a leak in the program first, to see that the rule finds it.
"""

import argparse
import os
import sys

from benchmarks.report import table
from supervisor.core.durations import parse_span
from tests.support import nginxes
from tests.support.clean import clean_python
from tests.support.soak.leaks import LEAKS, leaking
from tests.support.soak.samples import COUNTED, HELD
from tests.support.soak.story import Soaked, soak

_RUN = ("-m", "supervisor", "run")


def main() -> int:
    """
    Return 0 when nothing failed and everything is flat.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=__doc__)
    parser.add_argument(
        "duration", nargs="?", default="10m", help="10m; 24h; in less memory still warms up"
    )
    parser.add_argument("--leak", choices=LEAKS, help="plant one")
    arguments = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/usr/local/sbin"  # where Debian keeps nginx
    python = str(clean_python())
    command = leaking(python, arguments.leak) if arguments.leak else (python, *_RUN)
    binary = nginxes.current() or "nginx"
    found = soak(parse_span(arguments.duration), command=command, NGINX_BINARY=binary)
    return 0 if _told(found, nginxes.name_of(binary)) else 1


def _told(found: Soaked, nginx: str) -> bool:
    counts = [f"{count:,} {kind}" for kind, count in sorted(found.answered.items())]
    table(
        f"Soak: {found.seconds:,.0f} s on {nginx}, access log on",
        ["what", "count"],
        [
            ["changes in the registry", f"{found.changes:,}"],
            ["reloads applied", f"{found.reloads:,}"],
            ["Nomad away, by turns refusing and answering 500", f"{found.away:,.0f} s"],
            ["requests answered", f"{found.answered.total():,}: {', '.join(counts)}"],
            ["requests failed", f"{found.failed.total():,}"],
            ["requests in the access log", f"{found.logged:,}"],
            ["errors and unexpected warnings logged", f"{len(found.bad):,}"],
        ],
    )
    rows, flat = [], True
    for series in (*COUNTED, *HELD):
        one = series.judged(found.samples)
        flat = flat and one.is_flat
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
    return flat and not found.failed and not found.bad


if __name__ == "__main__":
    sys.exit(main())
