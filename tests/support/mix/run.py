"""
One run of the golden mix: the program under test and the control on the same replicas.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.mix import clients
from tests.support.mix.by_hand import by_hand
from tests.support.mix.changes import Changes
from tests.support.mix.replica_pool import context, replica_pool
from tests.support.mix.verdict import Verdict, judged
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

#: The control's requests have numbers of their own.
_CONTROL = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Result:
    """
    The changes of a run, and the failures of both balancers.
    """

    changes: Changes
    ours: Verdict
    control: Verdict
    executed_twice: list[int]
    took: float
    ended: list[dict[str, object]]

    def __str__(self) -> str:
        changes = self.changes
        return (
            f"{changes.changed} changes in {self.took:.0f} s: {len(changes.pool.started)} replicas,"
            f" {len(changes.kills)} killed, {changes.graceful} stopped gracefully\n"
            f"reloads deferred and generations ended: {self.ended or 'never'}\n"
            f"ours: {self.ours}\ncontrol: {self.control}"
        )


def mixed(
    subject: Supervised, nginx: str, folder: Path, *, changes: int, gap: float, least: int
) -> Result:
    """
    Make `changes` changes, `gap` seconds apart on average, under all clients of both balancers; the
    program's clients send at least `least` requests.
    """
    folder.chmod(0o755)
    began = time.monotonic()
    with ExitStack() as stack:
        replicas = stack.enter_context(replica_pool(folder))
        control = stack.enter_context(by_hand(nginx, folder / "control"))

        def offer(endpoints: Iterable[tuple[str, int]]) -> None:
            listed = list(endpoints)
            subject.offer(*listed)
            control.offer(listed)

        schedule = Changes(replicas, offer, changes, gap)
        schedule.begin(8)
        subject.start().ready(status=200, path="/fast")
        theirs, ours = folder / "theirs", folder / "ours"
        with (
            at_work(control.port, clients.GOLDEN, theirs, first=_CONTROL),
            at_work(subject.port, clients.GOLDEN, ours, least=least),
        ):
            schedule.play()
        twice = replicas.executed_twice()
        found = clients.read(ours)
        last = max(each.number for each in found)
        eventually(lambda: last in _routes(subject), 5.0, 0.2, "the end of the access log")
        return Result(
            schedule,
            judged(found, schedule.kills, _routes(subject)),
            judged(clients.read(theirs), schedule.kills, control.routes()),
            twice,
            time.monotonic() - began,
            [*subject.log_lines("reload.deferred"), *subject.log_lines("generation.ended")],
        )


@contextmanager
def at_work(
    port: int, kinds: tuple[clients.Kind, ...], into: Path, *, first: int = 1, least: int = 0
) -> Iterator[Path]:
    """
    Run clients in another process; they finish their requests, and send at least `least`.
    """
    mp = context()
    stop = mp.Event()
    process = mp.Process(
        target=clients.run,
        args=(port, kinds, stop, into),
        kwargs={"first": first, "least": least},
        daemon=True,
    )
    process.start()
    try:
        yield into
    finally:
        stop.set()
        process.join(180)
        process.kill()
        process.join()


def _routes(subject: Supervised) -> dict[int, str]:
    """
    Return the upstreams of each request by its number, from the access log.

    A worker of an earlier configuration hands requests on; the receiving worker logs another line.
    """
    found: dict[int, str] = {}
    for line in subject.log_lines("request"):
        number, upstream = str(line.get("agent", "")), str(line.get("endpoint", ""))
        if number.isdecimal() and (not upstream.startswith("unix:") or int(number) not in found):
            found[int(number)] = upstream
    return found
