"""
Run all measurements, or the named ones; print the verdict, and what moved since the last saved run.
"""

import argparse
import os
import sys
import time

from benchmarks import (
    change,
    deadline,
    flapping,
    idle,
    imports,
    last_run,
    machine,
    memory,
    methods,
    probing,
    report,
    start,
    stop,
    throughput,
    watched,
)
from benchmarks.comparison import compare
from benchmarks.last_run import Part
from tests.support.clean_environment import CleanEnvironmentError, clean_python
from tests.support.namespaces import why_no_unshare

_MEASURES = {
    "change": change.measure,
    "probing": probing.measure,
    "flapping": flapping.measure,
    "throughput": throughput.measure,
    "methods": methods.measure,
    "watched": watched.measure,
    "start": start.measure,
    "stop": stop.measure,
    "deadline": deadline.measure,
    "imports": imports.measure,
    "memory": memory.measure,
    "idle": idle.measure,
}

#: Rounds of most measures; each measure derives its own number of runs from it.
_ROUNDS = 10


def main() -> int:
    """
    Return 0 if every goal is met.
    """
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rounds",
        type=int,
        default=_ROUNDS,
        help=f"a factor of the runs of each measure ({_ROUNDS})",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(_MEASURES),
        metavar="NAME",
        help=", ".join(_MEASURES),
    )
    parser.add_argument(
        "--save",
        action="store_true",
        help=f"write the results to {last_run.FILE.name}, of a part that part",
    )
    arguments = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/usr/local/sbin"  # where Debian installs nginx
    try:
        clean_python()
    except CleanEnvironmentError as reason:
        print(reason, file=sys.stderr)
        return 1
    where = "without a PID namespace" if why_no_unshare() else "as PID 1"
    began = time.monotonic()
    print(
        f"{', '.join(machine.versions())}, {os.cpu_count()} processors, load before"
        f" {machine.load():.1f}, programs run {where}, {arguments.rounds} rounds."
    )
    saved = last_run.read()
    parts = {}
    for name in arguments.only or _MEASURES:
        parts[name] = _measured(name, arguments.rounds)
        if arguments.save:  # at once: a run that is interrupted keeps what it has
            _save(name, parts[name])
    findings = [each for part in parts.values() for each in part.findings]
    print(f"\n### Results, after {time.monotonic() - began:,.0f} s\n\n{report.results(findings)}")
    before = [each for name in parts if name in saved for each in saved[name].findings]
    dates = sorted({saved[name].date for name in parts if name in saved})
    print(f"\n### Since the last committed run ({' and '.join(dates) or 'there is none'})\n")
    print(report.compared(compare(before, findings)))
    return 0 if all(finding.holds for finding in findings) else 1


def _save(name: str, part: Part) -> None:
    for measure in last_run.save({name: part}):
        print(f"cannot save {measure!r}: it has no value, leaving it out", file=sys.stderr)


def _measured(name: str, rounds: int) -> Part:
    began, before = time.monotonic(), machine.load()
    findings = _MEASURES[name](rounds)
    print(f"\n({name}: {time.monotonic() - began:.0f} s)", flush=True)
    return machine.part(findings, rounds, before)


if __name__ == "__main__":
    sys.exit(main())
