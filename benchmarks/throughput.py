"""
Throughput of the generated configuration, against two by hand on the same nginx and HAProxy.

One by hand is minimal, as in a tutorial; the other one also sends the headers that the generated
configuration sends, which are part of its function.  The goal is a ratio to the second.

All run at the same time and take turns of a second in alternating order, so that a ratio
compares adjacent runs.  The goal is per second of the worker's own processor time: on an idle
machine that is the throughput of a busy worker; on a busy one, throughput per wall-clock second
also depends on other processes.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks import contestants, wrk
from benchmarks.contestants import LARGE, Contestant
from benchmarks.findings import Finding, Peer, Unit, count, median, middle
from benchmarks.report import ms, table
from tests.support import nginxes
from tests.support.footprint import processor_time

_LOADS = (
    wrk.Load("64 bytes, kept", "/small", 32),
    wrk.Load("64 bytes, new", "/small", 32, kept=False),
    wrk.Load("1 MB answers, kept", "/large", 8),
    wrk.Load("1 MB answers, new", "/large", 8, kept=False),
    wrk.Load("1 MB requests, kept", "/take", 8, method="POST", body=LARGE),
)

_SECONDS = 1
_GOAL = 0.98

_OURS = "generated"
_HAND = "by hand"
_HAND_SAME = "by hand with the same headers"


@dataclass(slots=True)
class Seen:
    """
    Results of one contestant under one load, one value per turn.
    """

    rate: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    computed: list[float] = field(default_factory=list)
    failed: int = 0


def measure(rounds: int) -> list[Finding]:
    """
    Alternate all contestants under each load.
    """
    if wrk.why_not():
        print(f"\nThroughput was not measured: {wrk.why_not()}.")
        return []
    seen: dict[tuple[str, str], Seen] = {}
    with _all() as (running, pairs):
        for load in _LOADS:
            for each in running:
                seen[load.name, each.name] = Seen()
                wrk.run(each.port, load, 1)
            for turn in range(max(2, rounds * 8 // 10)):
                for each in running[:: -1 if turn % 2 else 1]:
                    _turn(each, load, seen[load.name, each.name])
    return _report(seen, [each.name for each in running], pairs)


def _turn(each: Contestant, load: wrk.Load, seen: Seen) -> None:
    working = each.working()
    before = sum(map(processor_time, working))
    carried = wrk.run(each.port, load, _SECONDS)
    computed = sum(map(processor_time, working)) - before
    seen.rate.append(carried.rate)
    seen.p50.append(carried.p50)
    seen.p99.append(carried.p99)
    seen.computed.append(computed / max(1, carried.requests))
    seen.failed += carried.failed


@contextlib.contextmanager
def _all() -> Iterator[tuple[list[Contestant], list[tuple[str, str]]]]:
    """Start all available contestants; yield them and the pairs to compare."""
    running, pairs = [], []
    with contextlib.ExitStack() as stack:
        servers = stack.enter_context(contestants.servers(nginxes.current() or "nginx"))
        for binary in filter(None, (nginxes.current(), "nginx")):
            version = nginxes.name_of(binary)
            ours, hand, same = (f"{each}, {version}" for each in (_OURS, _HAND, _HAND_SAME))
            running += [
                stack.enter_context(contestants.by_hand(hand, binary, servers)),
                stack.enter_context(contestants.generated(ours, binary, servers)),
                stack.enter_context(contestants.by_hand(same, binary, servers, same_headers=True)),
            ]
            pairs += [(ours, same), (ours, hand)]
        other = contestants.haproxy_version()
        if other:
            running.append(stack.enter_context(contestants.haproxy(other, servers)))
            pairs += [(ours, other) for ours in dict.fromkeys(ours for ours, _ in pairs)]
        else:
            print("\nHAProxy was not measured: to include it, run apt-get install haproxy.")
        yield running, pairs


def _report(
    seen: dict[tuple[str, str], Seen], names: list[str], pairs: list[tuple[str, str]]
) -> list[Finding]:
    table(
        f"Throughput in front of 4 servers (medians of {_runs(seen)} runs of {_SECONDS} s)",
        ["load, proxy", "requests/s", "p50", "p99", "processor/request", "failed"],
        [
            [
                f"{load.name}, {name}",
                f"{median(one.rate):,.0f}",
                ms(median(one.p50)),
                ms(median(one.p99)),
                f"{median(one.computed) * 1e6:,.1f} us",
                str(one.failed),
            ]
            for load in _LOADS
            for name in names
            for one in (seen[load.name, name],)
        ],
    )
    lines = []
    for load in _LOADS:
        for ours, other in pairs:
            mine, theirs = seen[load.name, ours], seen[load.name, other]
            lines.append(
                [
                    f"{load.name}: {ours} / {other}",
                    # The first two so that higher is better.
                    f"{median(_ratios(theirs.computed, mine.computed)):.3f}",
                    f"{median(_ratios(mine.rate, theirs.rate)):.3f}",
                    f"{median(_ratios(mine.p50, theirs.p50)):.3f}",
                    f"{median(_ratios(mine.p99, theirs.p99)):.3f}",
                ]
            )
    table(
        "The generated configuration against the others (medians of ratios)",
        ["load, pair", "requests per processor second", "requests/s", "p50", "p99"],
        lines,
    )
    failed = sum(one.failed for (_, name), one in seen.items() if name.startswith(_OURS))
    return [
        *_findings(seen, pairs),
        Finding(measure="requests failed, all loads", unit=Unit.COUNT, ours=count(failed), goal=0),
    ]


def _findings(seen: dict[tuple[str, str], Seen], pairs: list[tuple[str, str]]) -> Iterator[Finding]:
    """Yield each load's cost per request, and its ratios to the configurations by hand."""
    current = nginxes.current() and nginxes.name_of(nginxes.current())
    for load in _LOADS:
        for ours, hand in pairs:
            if not hand.startswith(_HAND):
                continue
            version = ours.removeprefix(f"{_OURS}, ")
            is_same = hand.startswith(_HAND_SAME)
            mine, theirs = seen[load.name, ours], seen[load.name, hand]
            others = [other for our, other in pairs if our == ours and other != hand]
            if is_same:
                yield Finding(
                    measure=f"processor time a request, {load.name}, {version}",
                    unit=Unit.US,
                    ours=middle(mine.computed, 1e6),
                    peers=tuple(
                        Peer(other, median(seen[load.name, other].computed) * 1e6)
                        for other in others
                    ),
                    limit=Peer(_HAND_SAME, median(theirs.computed) * 1e6),
                )
            against = _HAND_SAME if is_same else _HAND
            yield Finding(
                measure=f"throughput per processor, {load.name}, {version}, against {against}",
                unit=Unit.TIMES,
                ours=middle(_ratios(theirs.computed, mine.computed)),
                goal=_GOAL if is_same and version == current else None,
                higher_is_better=True,
            )


def _ratios(ours: list[float], others: list[float]) -> list[float]:
    return [a / b for a, b in zip(ours, others, strict=True)]


def _runs(seen: dict[tuple[str, str], Seen]) -> int:
    return max(len(one.rate) for one in seen.values())
