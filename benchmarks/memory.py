"""
Memory of the supervising process: after the start, after many changes, with many endpoints.

Several programs run at once, because memory does not depend on the machine's load.  Proportional
sizes (PSS) are lower because interpreters share pages here; they have no goal.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks import scene
from benchmarks.findings import STEADY, Finding, Peer, Unit, median, middle
from benchmarks.report import mb, table
from tests.support.clean_environment import clean_python
from tests.support.fake_nomad import FakeNomad
from tests.support.footprint import DEPENDENCIES, Memory, memory_of
from tests.support.namespaces import Process
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

_AT_A_TIME = 4

#: Number of endpoints -> changes to apply, and the goal in MB.
_SIZES = {10: (300, 45.0), 1000: (20, 60.0), 10_000: (5, 100.0)}
_SHARE = 4.0


@dataclass(frozen=True, slots=True)
class Held:
    """
    One run: the bare interpreter, the program after its start, and after the changes.
    """

    bare: Memory
    started: Memory
    changed: Memory


def measure(rounds: int) -> list[Finding]:
    """
    Let programs apply real changes, and measure their memory before and after.
    """
    findings, lines = [], []
    old = median(_bash() for _ in range(3))
    times = max(1, rounds * 3 // 10)
    for count, (changes, goal) in _SIZES.items():
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            runs = list(pool.map(lambda _, n=count, c=changes: _run(n, c), range(times)))
        bare, started, changed = (
            [getattr(run, name) for run in runs] for name in ("bare", "started", "changed")
        )
        for name, held in (
            ("the four packages, imported", bare),
            ("supervisor, started", started),
            (f"supervisor, {changes} changes later", changed),
        ):
            lines.append(
                [
                    f"{count:,}",
                    name,
                    mb(median(m.rss for m in held)),
                    mb(median(m.pss for m in held)),
                ]
            )
        findings.append(
            Finding(
                measure=f"RSS after {changes} changes, {count:,} endpoints",
                unit=Unit.MB,
                ours=middle((m.rss for m in changed), least=STEADY),
                goal=goal,
                peers=(Peer("replaced pattern", old),),
                limit=Peer("the four packages", median(m.rss for m in bare)),
            )
        )
        if count == min(_SIZES):
            findings.append(
                Finding(
                    measure="of which above the four packages",
                    unit=Unit.MB,
                    # Of a difference of two sizes: the noise of both is a larger share.
                    ours=middle((run.changed.rss - run.bare.rss for run in runs), least=0.1),
                    goal=_SHARE,
                )
            )
    lines.append(["10", "replaced pattern: bash and sleep", mb(old), ""])
    table(
        f"Memory of the supervising process (median of {times})",
        ["endpoints", "process", "RSS", "PSS"],
        lines,
    )
    return findings


def _run(count: int, changes: int) -> Held:
    """Apply changes as fast as possible; the reload rate limit is off, the work is the same."""
    with scene.Replicas() as replicas, FakeNomad() as nomad:
        sets = [scene.rows(replicas.endpoints(which, count)) for which in (1, 2)]
        nomad.rows(scene.SERVICE, sets[0])
        with scene.ours(nomad, RELOAD_INTERVAL="10ms") as program, _bare() as bare:
            program.wait_for_log("reload.applied", 60, endpoints=count)
            time.sleep(0.5)
            started = memory_of(program.pid)
            for change in range(changes):
                before = len(program.log_lines("reload.applied"))
                nomad.rows(scene.SERVICE, sets[(change + 1) % 2])
                _applied(program, before, count)
            time.sleep(0.5)
            return Held(memory_of(bare), started, memory_of(program.pid))


def _applied(program: Supervised, before: int, count: int) -> None:
    """Wait until a change is fully applied; of many endpoints the first ready ones come first."""

    def done() -> bool:
        lines = program.log_lines("reload.applied")
        return len(lines) > before and lines[-1]["endpoints"] == count

    try:
        eventually(done, 60, 0.005, f"{count} endpoints")
    except AssertionError as error:
        error.add_note(program.recent_output)
        raise


@contextlib.contextmanager
def _bare() -> Iterator[int]:
    """Start an interpreter that imports the four packages and then idles."""
    lines = f"{DEPENDENCIES}\nprint(flush=True)\nimport sys; sys.stdin.read()"
    with subprocess.Popen(
        [str(clean_python()), "-c", lines],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.terminate()


def _bash() -> float:
    """Return the total memory of the old pattern's supervising processes."""

    def supervising(found: Process) -> bool:
        return found.name in {"bash", "sleep"}

    with scene.replaced() as program:
        program.ready()
        return sum(memory_of(p.pid).rss for p in program.processes() if supervising(p))
