"""
Time from exec to the first response on the port, for a client that connects continuously.

The clock starts before the namespace is created, so both results include that time.
"""

from benchmarks import scene
from benchmarks.findings import Finding, Peer, Unit, middle
from benchmarks.report import SPREAD, spread, table
from tests.support.fake_nomad import FakeNomad
from tests.support.supervised import Supervised
from tests.support.waiting import free_port

_GOAL = 500.0


def measure(rounds: int) -> list[Finding]:
    """
    Start ours with a reachable registry, ours with an unavailable one, and the old pattern.
    """
    taken: dict[str, list[float]] = {
        "ours, 10 endpoints registered": [],
        "ours, registry unavailable (returns 503)": [],
        "replaced pattern, endpoints in its file": [],
    }
    known, unknown, old = taken.values()
    with FakeNomad() as nomad, scene.Replicas() as replicas, scene.Client() as client:
        endpoints = replicas.endpoints(1, 10)
        nomad.set(scene.SERVICE, endpoints)
        away = FakeNomad().start()
        away.stop()
        for _ in range(rounds):
            port = _knock(client)
            with scene.ours(nomad, LISTEN_PORT=port) as program:
                known.append(_answered(client, program))
            port = _knock(client)
            with scene.ours(away, LISTEN_PORT=port) as program:
                unknown.append(_answered(client, program))
            port = _knock(client)
            with scene.replaced(endpoints, LISTEN_PORT=port) as program:
                old.append(_answered(client, program))
    table(
        "From exec to the first response",
        ["started", *SPREAD],
        [[name, *spread(spans)] for name, spans in taken.items()],
    )
    peer = Peer("replaced pattern", middle(old, 1000).number)
    return [
        Finding(
            measure=f"exec -> first response, registry {state}",
            unit=Unit.MS,
            ours=middle(spans, 1000),
            goal=_GOAL,
            peers=(peer,),
        )
        for state, spans in (("reachable", known), ("unavailable", unknown))
    ]


def _knock(client: scene.Client) -> str:
    port = free_port()
    client.begin(port, 20.0, "answered")
    return str(port)


def _answered(client: scene.Client, program: Supervised) -> float:
    (first,) = client.result()
    return first.answered_at - program.run.started_at
