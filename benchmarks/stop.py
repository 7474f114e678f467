"""
Time from SIGTERM to the exit of the process, without open connections.
"""

import signal
import time

from benchmarks import scene
from benchmarks.findings import Finding, Peer, Unit, count, middle
from benchmarks.report import SPREAD, spread, table
from tests.support.fake_nomad import FakeNomad
from tests.support.supervised import Supervised

_GOAL = 200.0

#: Nomad's default time between the stop signal and SIGKILL, in seconds.
_KILL_TIMEOUT = 5.0


def measure(rounds: int) -> list[Finding]:
    """
    Stop both alternately.  The old pattern is measured a few times only: it never exits by itself.
    """
    ours: list[float] = []
    codes: set[int] = set()
    old: list[float] = []
    old_codes: set[int] = set()
    with FakeNomad() as nomad:
        nomad.set(scene.SERVICE, [("10.1.0.1", 8000 + n) for n in range(10)])
        for rotation in range(rounds):
            with scene.ours(nomad) as program:
                program.wait_for_log("reload.applied")
                time.sleep(0.3)
                ours.append(_stopped(program))
                codes.add(program.wait())
            if rotation < max(1, rounds // 5):
                with scene.replaced([("10.1.0.1", 8000)]) as program:
                    program.ready()
                    time.sleep(0.3)
                    old.append(_stopped(program))
                    old_codes.add(program.wait())
    table(
        "From SIGTERM to the exit, idle",
        ["stopped", *SPREAD, "exit code"],
        [
            ["ours", *spread(ours), _codes(codes)],
            ["replaced pattern, killed after 5 s", *spread(old), _codes(old_codes)],
        ],
    )
    return [
        Finding(
            measure="SIGTERM -> exited, idle",
            unit=Unit.MS,
            ours=middle(ours, 1000),
            goal=_GOAL,
            peers=(Peer("replaced pattern", middle(old, 1000).number),),
        ),
        Finding(
            measure="exit code after SIGTERM, the highest",
            unit=Unit.COUNT,
            ours=count(max(codes)),
            goal=0,
            peers=(Peer("replaced pattern", max(old_codes)),),
        ),
    ]


def _stopped(program: Supervised) -> float:
    at = time.monotonic()
    program.signal(signal.SIGTERM)
    if not program.run.exited.wait(_KILL_TIMEOUT):
        program.signal(signal.SIGKILL)
        program.run.exited.wait(5)
    assert program.run.exited_at is not None
    return program.run.exited_at - at


def _codes(codes: set[int]) -> str:
    return " and ".join(map(str, sorted(codes)))
