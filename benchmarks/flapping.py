"""
Replicas that are listed before they listen, and one that crashes and restarts several times.

Both programs run in front of the same replicas at the same time; the other one is a plain nginx
with the upstream that a template writes from the registry.
"""

from collections import Counter

from benchmarks import scene
from benchmarks.findings import Finding, Peer, Unit
from benchmarks.findings import count as counted
from benchmarks.report import table
from tests.support.fake_nomad import FakeNomad
from tests.support.flapping import Client, classify, replicas, run_scenario

_LOAD = 5.0
_SERVE = 2.0
_GRACE = 0.5


def measure(rounds: int) -> list[Finding]:
    """
    Run the scenario with two and with four replicas.
    """
    findings, lines = [], []
    times = max(1, rounds // 2)
    for count in (2, 4):
        ours, plain = _run(count, times)
        for label, seen in (("ours", ours), ("nginx by hand", plain)):
            lost = {what: n for what, n in seen.items() if what.startswith(("early", "late"))}
            lines.append(
                [
                    f"{label}, {count} replicas",
                    str(seen.total()),
                    str(seen["served"]),
                    str(seen["starting"]),
                    str(seen["in flight"]),
                    ", ".join(f"{n} {what}" for what, n in sorted(lost.items())) or "0",
                ]
            )
        findings.append(
            Finding(
                measure=f"answers other than 200 and `starting`, {count} replicas, one crashes",
                unit=Unit.COUNT,
                ours=counted(seen_wrong(ours)),
                goal=0,
                peers=(Peer("nginx by hand", seen_wrong(plain)),),
            )
        )
    table(
        f"A replica that loads for {_LOAD:g} s, crashes and restarts, {times} times",
        ["program", "requests", "200", "503 starting", "in flight at a crash", "anything else"],
        lines,
    )
    return findings


def seen_wrong(seen: Counter[str]) -> int:
    """
    Count the responses that no client should receive.
    """
    return sum(n for what, n in seen.items() if what.startswith(("early", "late")))


def _run(count: int, times: int) -> tuple[Counter[str], Counter[str]]:
    with replicas(count, _LOAD) as loaders, FakeNomad() as nomad:
        endpoints = [each.endpoint for each in loaders]
        nomad.rows(scene.SERVICE, scene.rows(endpoints))
        with scene.ours(nomad) as mine, scene.replaced(endpoints) as plain:
            mine.ready(30, status=503)
            with Client(mine.port) as seen, Client(plain.port) as seen_plain:
                timeline = run_scenario(loaders, times, _LOAD, _SERVE)
    return classify(seen, timeline, _GRACE), classify(seen_plain, timeline, _GRACE)
