"""
Run all measurements, or the named ones, and print the verdict.
"""

import argparse
import os
import platform
import sys
import time

from benchmarks import (
    change,
    deadline,
    flapping,
    idle,
    imports,
    memory,
    methods,
    probing,
    report,
    start,
    stop,
    throughput,
    watched,
)
from tests.support.clean_environment import CleanEnvironmentError, clean_python
from tests.support.namespaces import why_no_unshare

_MEASURES = {
    "imports": imports.measure,
    "memory": memory.measure,
    "idle": idle.measure,
    "start": start.measure,
    "change": change.measure,
    "stop": stop.measure,
    "deadline": deadline.measure,
    "probing": probing.measure,
    "watched": watched.measure,
    "flapping": flapping.measure,
    "throughput": throughput.measure,
    "methods": methods.measure,
}


def main() -> int:
    """
    Return 0 if every goal is met.
    """
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="runs of each measurement (20)")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(_MEASURES),
        metavar="NAME",
        help=", ".join(_MEASURES),
    )
    arguments = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/usr/local/sbin"  # where Debian installs nginx
    try:
        clean_python()
    except CleanEnvironmentError as reason:
        print(reason, file=sys.stderr)
        return 1
    where = "without a PID namespace" if why_no_unshare() else "as PID 1"
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} processors, load before"
        f" {os.getloadavg()[0]:.1f}, programs run {where}, {arguments.rounds} rounds."
    )
    findings = []
    for name in arguments.only or _MEASURES:
        began = time.monotonic()
        findings += _MEASURES[name](arguments.rounds)
        print(f"\n({name}: {time.monotonic() - began:.0f} s)")
    report.verdict(findings)
    return 0 if all(finding.holds for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
