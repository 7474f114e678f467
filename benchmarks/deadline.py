"""
Time from the deadline to the QUIT sent to nginx, measured as its port refusing connections.

The measured time includes nginx's own delay, so the QUIT was sent even earlier.  The same time is
measured for the old pattern, which kills everything at the deadline.
"""

import time

from benchmarks import scene
from benchmarks.report import SPREAD, Finding, median, ms, spread, table
from tests.support.fake_nomad import FakeNomad

_TTL = 1.5
_GOAL = 0.05


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
        for _ in range(rounds):
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
            ["ours, drained", *spread(ours), *map(str, codes)],
            ["replaced pattern, killed", *spread(old), *map(str, old_codes)],
        ],
    )
    return [
        Finding(
            "deadline -> QUIT sent",
            f"< {ms(_GOAL)}, code 0",
            f"{ms(median(ours))}, code {codes.pop()}",
            f"{ms(median(old))}, code {old_codes.pop()}",
            median(ours) < _GOAL,
        )
    ]
