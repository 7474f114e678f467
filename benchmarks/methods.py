"""
Client latency of each balancing method with uneven requests.

The model is an inference service: four replicas that process two requests at a time each and queue
the others; 50 to 2000 ms of work, as often between 50 and 100 as between 1000 and 2000; random
arrivals at a rate that keeps the replicas busy 60 % of the time.  All methods get the same arrivals
at the same time, each with its own replicas.
"""

import contextlib
import heapq
import json
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks import scene
from benchmarks.findings import Finding, Peer, Unit, Value, count, median, once, percentile
from benchmarks.report import ms, table
from tests.support import nginxes
from tests.support.fake_nomad import FakeNomad

_METHODS: dict[str, dict[str, str]] = {
    "least_conn": {"LB_METHOD": "least_conn"},
    "random": {"LB_METHOD": "random"},
    "round_robin": {"LB_METHOD": "round_robin"},
    "hash by header": {"LB_METHOD": "hash", "LB_HASH_KEY": "header:X-Key"},
    "ip_hash": {"LB_METHOD": "ip_hash"},
}

_DEFAULT = "least_conn"
_BOUND = "one queue for all replicas, computed"

#: Of the best other method's mean.
_GOAL = 1.05

_REPLICAS = 4
_AT_A_TIME = 2
_LEAST, _MOST = 0.05, 2.0
_MEAN = (_MOST - _LEAST) / math.log(_MOST / _LEAST)
_BUSY = 0.6
_RATE = _BUSY * _REPLICAS * _AT_A_TIME / _MEAN

#: Each in its own network, because ip_hash uses the first three numbers of an address.
_CLIENTS = 50

_PER_ROUND = 100
_SEED = 5


@dataclass(frozen=True, slots=True)
class Arrival:
    """
    One request: its arrival time, client number, and seconds of work.
    """

    at: float
    client: int
    work: float


def measure(rounds: int) -> list[Finding]:
    """
    Send the same arrivals through all methods.
    """
    arrivals = _arrivals(rounds * _PER_ROUND)
    waited = {_BOUND: _one_queue(arrivals), **_waited(arrivals)}
    table(
        f"Uneven requests on {_REPLICAS} replicas, {_BUSY:.0%} busy ({len(arrivals):,} requests)",
        ["method", "mean", "median", "p99", "worst", "failed"],
        [
            [
                name,
                ms(_mean(spans)),
                ms(median(spans)),
                ms(percentile(spans, 99)),
                ms(max(spans)),
                str(len(arrivals) - len(spans)),
            ]
            for name, spans in waited.items()
        ],
    )
    mine, bound = waited.pop(_DEFAULT), waited.pop(_BOUND)
    return [
        *(
            Finding(
                measure=f"latency with uneven requests, {_DEFAULT}, the default, {label}",
                unit=Unit.MS,
                ours=once(value(mine) * 1000),
                peers=tuple(Peer(name, value(spans) * 1000) for name, spans in waited.items()),
                limit=Peer(_BOUND, value(bound) * 1000),
            )
            for label, value in (("mean", _mean), ("p99", _p99))
        ),
        Finding(
            measure="the same mean, against the best other method",
            unit=Unit.TIMES,
            ours=_against(mine, waited.values()),
            goal=_GOAL,
        ),
        Finding(
            measure="requests failed, all methods",
            unit=Unit.COUNT,
            ours=count(sum(len(arrivals) - len(spans) for spans in (mine, *waited.values()))),
            goal=0,
        ),
    ]


def _against(mine: Sequence[float], others: Iterable[Sequence[float]]) -> Value:
    return once(_mean(mine) / min(map(_mean, others)))


def _arrivals(count: int) -> list[Arrival]:
    """Draw the arrivals, the same ones every time."""
    draw = random.Random(_SEED)
    at, found = 0.0, []
    for _ in range(count):
        at += draw.expovariate(_RATE)
        work = _LEAST * (_MOST / _LEAST) ** draw.random()
        found.append(Arrival(at, draw.randrange(_CLIENTS), work))
    return found


def _waited(arrivals: Sequence[Arrival]) -> dict[str, list[float]]:
    """Return the latencies with all methods at once; failed requests are omitted."""
    with contextlib.ExitStack() as stack:
        replicas = scene.Helper("queueing.py", str(_AT_A_TIME))
        port = int(stack.enter_context(replicas).read())
        clients = {}
        for number, (name, settings) in enumerate(_METHODS.items(), 1):
            nomad = stack.enter_context(FakeNomad())
            nomad.set(scene.SERVICE, [(f"127.{number}.0.{n + 1}", port) for n in range(_REPLICAS)])
            program = stack.enter_context(
                scene.ours(nomad, NGINX_BINARY=nginxes.current() or "nginx", **settings)
            )
            program.wait_for_log("reload.applied", 30, mode="serve")
            clients[name] = stack.enter_context(scene.Helper("arriving.py")), program.port
        sent = [(a.at, f"127.9.{a.client}.1", f"user-{a.client}", a.work) for a in arrivals]
        for client, public in clients.values():
            client.write(json.dumps({"port": public, "arrivals": sent}))
        spans = {name: json.loads(client.read()) for name, (client, _) in clients.items()}
    return {name: [span for span in found if span is not None] for name, found in spans.items()}


def _one_queue(arrivals: Sequence[Arrival]) -> list[float]:
    """Compute the lower bound: one queue, from which each free slot takes the oldest request."""
    free = [0.0] * (_REPLICAS * _AT_A_TIME)
    spans = []
    for each in arrivals:
        ends = max(each.at, heapq.heappop(free)) + each.work
        heapq.heappush(free, ends)
        spans.append(ends - each.at)
    return spans


def _mean(spans: Sequence[float]) -> float:
    return sum(spans) / len(spans)


def _p99(spans: Sequence[float]) -> float:
    return percentile(spans, 99)
