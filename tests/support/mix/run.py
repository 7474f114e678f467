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
from tests.support.mix.changes import Story
from tests.support.mix.replica_pool import context, farm
from tests.support.mix.verdict import Verdict, judged
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

#: The control's requests have numbers of their own.
_CONTROL = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Result:
    """
    What happened, and what it cost whom.
    """

    story: Story
    ours: Verdict
    control: Verdict
    executed_twice: list[int]
    took: float
    ended: list[dict[str, object]]

    def __str__(self) -> str:
        story = self.story
        return (
            f"{story.changed} changes in {self.took:.0f} s: {len(story.farm.born)} replicas,"
            f" {len(story.kills)} killed, {story.polite} left politely\n"
            f"no room for a reload: {self.ended or 'never'}\n"
            f"ours: {self.ours}\ncontrol: {self.control}"
        )


def mixed(
    subject: Supervised, nginx: str, folder: Path, *, changes: int, gap: float, least: int
) -> Result:
    """
    Play so many changes, `gap` seconds apart on average, under all clients of both balancers; ours
    ask until there are `least` requests.
    """
    folder.chmod(0o755)
    began = time.monotonic()
    with ExitStack() as stack:
        replicas = stack.enter_context(farm(folder))
        control = stack.enter_context(by_hand(nginx, folder / "control"))

        def offer(endpoints: Iterable[tuple[str, int]]) -> None:
            listed = list(endpoints)
            subject.offer(*listed)
            control.offer(listed)

        story = Story(replicas, offer, changes, gap)
        story.begin(8)
        subject.start().ready(status=200, path="/fast")
        theirs, ours = folder / "theirs", folder / "ours"
        with (
            at_work(control.port, clients.GOLDEN, theirs, first=_CONTROL),
            at_work(subject.port, clients.GOLDEN, ours, least=least),
        ):
            story.tell()
        twice = replicas.executed_twice()
        found = clients.read(ours)
        last = max(each.number for each in found)
        eventually(lambda: last in _routes(subject), 5.0, 0.2, "the end of the access log")
        return Result(
            story,
            judged(found, story.kills, _routes(subject)),
            judged(clients.read(theirs), story.kills, control.routes()),
            twice,
            time.monotonic() - began,
            [*subject.log_lines("reload.deferred"), *subject.log_lines("generation.ended")],
        )


@contextmanager
def at_work(
    port: int, kinds: tuple[clients.Kind, ...], into: Path, *, first: int = 1, least: int = 0
) -> Iterator[Path]:
    """
    Have clients at work, in a process of their own; they finish what they began, and at least so
    many requests.
    """
    made = context()
    stop = made.Event()
    process = made.Process(
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
    Return by request the upstreams that its log of requests names; a worker of an earlier
    configuration hands it on, and who takes it writes a line of its own.
    """
    found: dict[int, str] = {}
    for line in subject.log_lines("request"):
        number, upstream = str(line.get("agent", "")), str(line.get("endpoint", ""))
        if number.isdecimal() and (not upstream.startswith("unix:") or int(number) not in found):
            found[int(number)] = upstream
    return found
