"""
Time from a change in the registry to the last new connection that the old set served.

Each change replaces all endpoints, so every response identifies its set.  Between two changes of
the supervisor, the peers get theirs: consul-template on the same registry, if it is on PATH, and a
plain nginx, whose files are rewritten with an immediate SIGHUP.  The latter bounds what reloads an
nginx in the usual way: its old workers continue to accept for up to 100 ms.
"""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks import consul_template, scene
from benchmarks.findings import Finding, Peer, Unit, count, median, middle, ratio, tail
from benchmarks.report import SPREAD, ms, spread, table
from tests.support import nginxes
from tests.support.fake_nomad import FakeNomad
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

#: Number of endpoints, probe type, and the goals for the median and the 99th percentile, in
#: milliseconds; each is measured on the distribution's nginx and on the current one.
_CASES: tuple[tuple[int, str, float | None, float | None], ...] = (
    (10, "tcp", 45.0, 80.0),
    (10, "off", 25.0, 50.0),
    (100, "off", 50.0, None),
    (100, "tcp", None, None),
    (1000, "off", 70.0, None),
    (1000, "tcp", None, None),
    (10_000, "off", 250.0, None),
)

#: Of consul-template's time, with few endpoints and without probes: it has none either.
_RATIO_GOAL = 0.45

#: The number of endpoints for which most changes are measured: 50 in a whole run.
_FEW = 10
_TIMES_FEW = 5

#: Of the largest set each change takes long, and varies little.
_MANY = 10_000
_TIMES_MANY = 0.5

#: Minimum time between two changes of one program, in seconds: refills its reload rate limit.
_APART = 1.2

#: The same after a change was seen, which may have taken long: else the next would be limited.
_AFTER = 0.8

#: A change that is not seen after this many seconds counts as not applied.
_WITHIN = 3.0

_OURS = "ours"
_PEER = "consul-template"
_ALONE = "nginx alone"


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
    Measure each case on the installed nginx and on the current one.
    """
    if not consul_template.version():
        print("\nconsul-template was not measured: to include it, put it on PATH.")
    findings: list[Finding] = []
    lines: list[list[str]] = []
    failed = 0
    for binary in filter(None, ("nginx", nginxes.current())):
        for size, probes, goal, worst in _CASES:
            sides = _compare(size, binary, _times(rounds, size), probes)
            case = f"{size:,} endpoints, probes {probes}, {nginxes.name_of(binary)}"
            lines += [_line(f"{name}, {case}", side) for name, side in sides.items()]
            findings += _findings(case, sides, goal, worst)
            if size == _FEW and probes == "off" and _PEER in sides:
                findings.append(_ratio(case, sides))
            failed += sides[_OURS].missed + sides[_OURS].lost
    findings.append(
        Finding(
            measure="changes not applied, and requests lost during them",
            unit=Unit.COUNT,
            ours=count(failed),
            goal=0,
        )
    )
    seen = _old_pattern()
    table(
        "From a registry change to the last new connection served by the old set",
        ["program, endpoints", "first new", *SPREAD, "not applied", "lost requests"],
        [*lines, [f"replaced pattern, SIGHUP to its PID 1: {seen}", *["never"] * 4, "1", "1", ""]],
    )
    return findings


def _times(rounds: int, size: int) -> int:
    share = _TIMES_FEW if size == _FEW else _TIMES_MANY if size == _MANY else 1
    return max(2, int(rounds * share))


def _line(label: str, side: Side) -> list[str]:
    found = [ms(median(side.first_new)), *spread(side.last_old), str(side.missed), str(side.lost)]
    return [label, *found]


def _findings(
    case: str, sides: Mapping[str, Side], goal: float | None, worst: float | None
) -> Iterator[Finding]:
    """Yield the median, and for few endpoints the 99th percentile."""
    whole = f"change -> last connection on the old set, {case}"
    for label, value, promised in (("p50", middle, goal), ("p99", tail, worst)):
        if label == "p99" and worst is None:
            continue
        found = {name: value(side.last_old, 1000) for name, side in sides.items()}
        yield Finding(
            measure=f"{whole}, {label}",
            unit=Unit.MS,
            ours=found[_OURS],
            goal=promised,
            peers=tuple(Peer(name, each.number) for name, each in found.items() if name != _OURS),
        )


def _ratio(case: str, sides: Mapping[str, Side]) -> Finding:
    return Finding(
        measure=f"the same p50 against consul-template's, {case}",
        unit=Unit.TIMES,
        ours=ratio(middle(sides[_OURS].last_old), middle(sides[_PEER].last_old)),
        goal=_RATIO_GOAL,
    )


def _compare(size: int, binary: str, times: int, probes: str) -> dict[str, Side]:
    """Change the endpoints of all programs alternately, at random times."""
    with (
        scene.Replicas() as replicas,
        scene.Client() as client,
        FakeNomad() as nomad,
        contextlib.ExitStack() as stack,
    ):
        sets = {which: replicas.endpoints(which, size) for which in (1, 2)}
        raw = {which: scene.rows(endpoints) for which, endpoints in sets.items()}
        nomad.rows(scene.SERVICE, raw[1])
        mine = stack.enter_context(
            scene.ours(nomad, NGINX_BINARY=binary, HEALTH_CHECK=probes, STOP_TIMEOUT="2s")
        )
        alone = stack.enter_context(scene.replaced(sets[1], NGINX_BINARY=binary))
        sides = {_OURS: Side(mine, lambda which: nomad.rows(scene.SERVICE, raw[which]))}
        if consul_template.version():
            named = consul_template.SERVICE
            rows = {which: scene.rows(endpoints, named) for which, endpoints in sets.items()}
            nomad.rows(named, rows[1])
            peer = stack.enter_context(consul_template.running(nomad, binary))
            sides[_PEER] = Side(peer, lambda which: nomad.rows(named, rows[which]))
        mine.wait_for_log("reload.applied", 30, mode="serve")
        alone.ready(30)
        master = eventually(alone.nginx_master) or 0

        def rewrite(which: int) -> None:
            alone.subject.offer(sets[which])
            os.kill(master, signal.SIGHUP)

        sides[_ALONE] = Side(alone, rewrite)
        for _ in range(times):
            for side in sides.values():
                pause = random.uniform(0, 0.3) + max(0.0, side.ready_at - time.monotonic())
                time.sleep(max(0.1, pause))
                side.ready_at = time.monotonic() + _APART
                _once(side, client)
                side.ready_at = max(side.ready_at, time.monotonic() + _AFTER)
    return sides


def _once(side: Side, client: scene.Client) -> None:
    old_set = f"127.{side.current}."
    client.begin(side.program.port, _WITHIN, old=old_set)
    time.sleep(0.02)
    to = 3 - side.current
    at = time.monotonic()
    side.change(to)
    knocks = [knock for knock in client.result() if knock.at >= at]
    old = [k.at for k in knocks if k.answer.startswith(old_set)]
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
