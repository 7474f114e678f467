"""
Time from the deadline to the QUIT sent to nginx, measured as its port refusing connections.

The measured time includes nginx's own delay, so the QUIT was sent even earlier.  The same time is
measured for the old pattern, which kills everything at the deadline.
"""

import time

from benchmarks import scene
from benchmarks.findings import Finding, Peer, Unit, count, middle
from benchmarks.report import SPREAD, spread, table
from tests.support.fake_nomad import FakeNomad

_TTL = 1.5
_GOAL = 50.0


def measure(rounds: int) -> list[Finding]:
    """
    Let both reach their deadlines, alternately.
    """
    ours: list[float] = []
    old: list[float] = []
    codes: set[int] = set()
    old_codes: set[int] = set()
    with FakeNomad() as nomad, scene.Client() as client:
        nomad.set(scene.SERVICE, [("10.1.0.1", 8000)])
        for _ in range(max(2, rounds * 6 // 10)):
            with scene.ours(nomad, TTL=f"{_TTL}s") as program:
                program.ready(path="/-/ready")
                client.begin(program.port, 10.0, "refused")
                assert program.state is not None
                wall = time.time() - time.monotonic()
                ours.append(client.result()[0].at - (program.state["deadline"] - wall))
                codes.add(program.wait())
            with scene.replaced(TTL=f"{_TTL}s") as program:
                program.ready()
                client.begin(program.port, 10.0, "refused")
                old.append(client.result()[0].at - (program.run.started_at + _TTL))
                old_codes.add(program.wait())
    table(
        "From the deadline to the port refusing",
        ["at the deadline", *SPREAD, "exit code"],
        [
            ["ours, drained", *spread(ours), ", ".join(map(str, codes))],
            ["replaced pattern, killed", *spread(old), ", ".join(map(str, old_codes))],
        ],
    )
    return [
        Finding(
            measure="deadline -> port refuses",
            unit=Unit.MS,
            ours=middle(ours, 1000),
            goal=_GOAL,
            peers=(Peer("replaced pattern", middle(old, 1000).number),),
        ),
        Finding(
            measure="exit code at the deadline, the highest",
            unit=Unit.COUNT,
            ours=count(max(codes)),
            goal=0,
            peers=(Peer("replaced pattern", max(old_codes)),),
        ),
    ]
