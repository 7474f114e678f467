"""
Time from a change in the registry to the last new connection that the old set served.

Each change replaces all endpoints, so every response identifies its set.  Between two changes of
the supervisor, a plain nginx gets the same files and an immediate SIGHUP.  That is the lower bound,
since nginx's old workers continue to accept for 100 ms.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks import scene
from benchmarks.report import SPREAD, Finding, median, ms, percentile, spread, table
from tests.support import nginxes
from tests.support.fake_nomad import FakeNomad
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

#: Number of endpoints, probe type, whether on the current nginx, and the goals for the median and
#: the 99th percentile, in seconds.
_CASES: tuple[tuple[int, str, bool, float | None, float | None], ...] = (
    (10, "tcp", False, 0.155, 0.230),
    (10, "tcp", True, 0.155, 0.230),
    (10, "off", False, 0.130, 0.200),
    (100, "off", False, 0.150, None),
    (1000, "off", False, 0.160, None),
    (1000, "tcp", False, None, None),
    (10_000, "off", False, 0.400, None),
)

#: The number of endpoints for which most changes are measured.
_FEW = 10

#: Minimum time between two changes of one program, in seconds: refills its reload rate limit.
_APART = 1.2


@dataclass(slots=True)
class Side:
    """
    A program, the function that changes its endpoints, and its results.
    """

    program: Supervised
    change: Callable[[int], None]
    current: int = 1
    last_old: list[float] = field(default_factory=list)
    first_new: list[float] = field(default_factory=list)
    missed: int = 0
    lost: int = 0
    ready_at: float = 0.0


def measure(rounds: int) -> list[Finding]:
    """
    Measure each size on the installed nginx, and the smallest one on the current nginx too.
    """
    findings, lines = [], []
    wheel = nginxes.current()
    for count, probes, is_current, goal, worst in _CASES:
        if is_current and not wheel:
            continue
        binary = wheel if is_current else "nginx"
        times = rounds * 5 if count == _FEW else rounds * 2
        ours, plain = _compare(count, binary, times, probes)
        name = nginxes.name_of(binary)
        for label, side in ((f"ours, probes {probes}", ours), ("nginx alone", plain)):
            lines.append(
                [
                    f"{label}, {count:,}, {name}",
                    ms(median(side.first_new)),
                    *spread(side.last_old),
                    str(side.missed),
                    str(side.lost),
                ]
            )
        if goal is None:
            continue
        holds = not ours.missed and not ours.lost and median(ours.last_old) < goal
        found = f"p50 {ms(median(ours.last_old))}"
        promised = f"p50 < {ms(goal)}"
        if worst is not None:
            promised += f", p99 < {ms(worst)}"
            found += f", p99 {ms(percentile(ours.last_old, 99))}"
            holds = holds and percentile(ours.last_old, 99) < worst
        findings.append(
            Finding(
                f"change -> last connection on the old set, {count:,} endpoints, probes"
                f" {probes}, {name}",
                promised,
                found,
                "never: SIGHUP is lost",
                holds,
            )
        )
    seen = _old_pattern()
    table(
        "From a registry change to the last new connection served by the old set",
        ["program, endpoints", "first new", *SPREAD, "not applied", "lost requests"],
        [*lines, [f"replaced pattern, SIGHUP to its PID 1: {seen}", *["never"] * 4, "1", "1", ""]],
    )
    return findings


def _compare(count: int, binary: str, times: int, probes: str) -> tuple[Side, Side]:
    """Change the endpoints of both alternately, at random times."""
    window = 0.45 if count < 1_000 else 1.2
    apart = max(_APART, 2 * (window + 0.1))
    with scene.Replicas() as replicas, scene.Client() as client, FakeNomad() as nomad:
        sets = {which: replicas.endpoints(which, count) for which in (1, 2)}
        raw = {which: scene.rows(endpoints) for which, endpoints in sets.items()}
        nomad.rows(scene.SERVICE, raw[1])
        with (
            scene.ours(nomad, NGINX_BINARY=binary, HEALTH_CHECK=probes, STOP_TIMEOUT="2s") as mine,
            scene.replaced(sets[1], NGINX_BINARY=binary) as alone,
        ):

            def rewrite(which: int) -> None:
                alone.subject.offer(sets[which])
                os.kill(master, signal.SIGHUP)

            sides = (
                Side(mine, lambda which: nomad.rows(scene.SERVICE, raw[which])),
                Side(alone, rewrite),
            )
            mine.wait_for_log("reload.applied", 30, mode="serve")
            alone.ready(30)
            master = eventually(alone.nginx_master) or 0
            for _ in range(times):
                for side in sides:
                    pause = random.uniform(0, 0.3) + max(0.0, side.ready_at - time.monotonic())
                    time.sleep(max(0.1, pause))
                    side.ready_at = time.monotonic() + apart
                    _once(side, client, window)
    return sides


def _once(side: Side, client: scene.Client, window: float) -> None:
    client.begin(side.program.port, window)
    time.sleep(0.02)
    to = 3 - side.current
    at = time.monotonic()
    side.change(to)
    knocks = [knock for knock in client.result() if knock.at >= at]
    old = [k.at for k in knocks if k.answer.startswith(f"127.{side.current}.")]
    new = [k.at for k in knocks if k.answer.startswith(f"127.{to}.")]
    side.lost += len(knocks) - len(old) - len(new)
    if new and max(new) > max(old, default=0.0):
        side.last_old.append(max(old, default=at) - at)
        side.first_new.append(min(new) - at)
    else:
        side.missed += 1
    side.current = to


def _old_pattern() -> str:
    """Act as Nomad does: rewrite the file and send SIGHUP to PID 1."""
    with scene.Replicas() as replicas, scene.Client() as client:
        sets = {which: replicas.endpoints(which, 10) for which in (1, 2)}
        with scene.replaced(sets[1]) as program:
            program.ready()
            workers = eventually(program.nginx_workers)
            program.offer(*sets[2])
            client.begin(program.port, 3.0, every=0.01)
            answers = {knock.answer.split(".")[1] for knock in client.result()}
            same = "the same workers" if program.nginx_workers() == workers else "other workers"
            return f"{same}, {'the old set' if answers == {'1'} else 'another set'} 3 s later"
