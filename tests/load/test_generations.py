import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.held_connection import HeldConnection
from tests.support.nginxes import BOTH
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.traffic import Traffic
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]

MOST = 8  # MAX_DRAINING
STREAMS = 8
CHANGES = 40

nginxes = pytest.mark.parametrize("nginx", BOTH)


@pytest.fixture
def everywhere() -> Iterator[Callable[[int], tuple[str, int]]]:
    """
    Return the endpoints, by number, of one replica that listens on all addresses.
    """
    with Replica("everywhere", "0.0.0.0") as replica:
        yield lambda number: (f"127.2.{number // 250}.{number % 250 + 1}", replica.port)


@pytest.fixture
def streams() -> Iterator[Callable[[int], list[HeldConnection]]]:
    """
    Open `count` event streams and wait until each has started.
    """
    with ExitStack() as stack:

        def opened(port: int, count: int = STREAMS) -> list[HeldConnection]:
            opened_streams = [
                stack.enter_context(HeldConnection.sse(port, 120, every=10.0)) for _ in range(count)
            ]
            eventually(lambda: all(200 == each.status for each in opened_streams))
            return opened_streams

        yield opened


def served(subject: Supervised) -> set[str]:
    """
    Return the endpoints in the live configuration.
    """
    text = (subject.home / "run/conf/upstream.conf").read_text()
    return set(re.findall(r"^    server ([0-9.:]+) ", text, re.MULTILINE))


def processes(subject: Supervised) -> int:
    """
    Return the number of nginx's processes: its master and all workers.
    """
    return sum(each.title.startswith("nginx: ") for each in subject.processes())


def started(supervise: Supervise, nginx: str, first: tuple[str, int], **more: str) -> Supervised:
    """
    Start the program and return it once it serves one endpoint.
    """
    subject = supervise(pid1=False, NGINX_BINARY=nginx, START_WAIT="5s", **more)
    subject.offer(first)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", endpoints=1)
    return subject


@nginxes
def test_L05_many_changes_cause_few_reloads(
    supervise: Supervise, nginx: str, everywhere: Callable[[int], tuple[str, int]]
) -> None:
    """
    A thousand changes in ten seconds are applied by at most four reloads plus one a second; then
    exactly the last set is served, and no request is lost.
    """
    subject = started(supervise, nginx, everywhere(0))
    before = len(subject.log_lines("reload.applied"))
    began = time.monotonic()
    with Traffic(subject.port, every=0.01) as traffic:
        last: list[tuple[str, int]] = []
        for number in range(1000):
            last = [everywhere(each) for each in range(1 + number % 7, 12 + number % 5)]
            subject.offer(*last)
            time.sleep(
                max(0.0, began + 0.01 * (number + 1) - time.monotonic())
            )  # 100 changes a second
        took = time.monotonic() - began
        wanted = {f"{address}:{port}" for address, port in last}
        eventually(lambda: wanted == served(subject), 5.0)
        subject.wait_for_log("reload.applied", endpoints=len(wanted))
    reloads = len(subject.log_lines("reload.applied")) - before
    print(f"{reloads} reloads for 1,000 changes in {took:.1f} s, {len(traffic.outcomes)} requests")

    assert 3 <= reloads <= 4 + math.floor(took)
    assert [] == traffic.failures
    assert [] == subject.log_lines("reload.failed")


@nginxes
def test_L06_old_generations_are_bounded_and_additions_wait(
    supervise: Supervise,
    nginx: str,
    everywhere: Callable[[int], tuple[str, int]],
    streams: Callable[..., list[HeldConnection]],
) -> None:
    """
    Forty additions with eight event streams before each: there are no more processes than
    MAX_DRAINING allows, further additions wait, and no stream is cut.  Forty removals: each at the
    limit ends the oldest generation with exactly its streams, which are counted.
    """
    subject = started(supervise, nginx, everywhere(0), RELOAD_INTERVAL="100ms")
    workers = len(subject.nginx_workers())
    most = (MOST + 1) * workers + 1
    generations: list[list[HeldConnection]] = [[]]
    wanted = [everywhere(0)]

    def open_streams() -> None:
        # For a moment after a reload the old workers still take new connections.
        eventually(lambda: workers == len(subject.nginx_workers()))
        while len(generations) < len(subject.log_lines("reload.applied")):
            generations.append([])
        generations[-1] += streams(subject.port)

    def ended() -> int:
        """Return the number of ended generations, after asserting that they were the oldest."""
        lines = subject.log_lines("generation.ended")
        oldest = [each for group in generations[: len(lines)] for each in group]
        others = [each for group in generations[len(lines) :] for each in group]
        eventually(lambda: not any(each.open for each in oldest))
        assert all(each.open for each in others)
        assert len(oldest) == sum(line["cut"] for line in lines)
        assert processes(subject) <= most
        return len(lines)

    for number in range(1, CHANGES + 1):
        open_streams()
        wanted.append(everywhere(number))
        subject.offer(*wanted)
        if number <= MOST:
            subject.wait_for_log("reload.applied", endpoints=number + 1)
        else:
            subject.wait_for_log("reload.deferred")
        assert 0 == ended()
    assert MOST + 1 == len(served(subject))
    assert "MAX_DRAINING" in subject.log_lines("reload.deferred")[0]["reason"]
    assert sum(map(len, generations)) == CHANGES * STREAMS

    for number in range(CHANGES):
        if number < 2 * MOST:
            open_streams()
        gone = wanted.pop(0 if number else 1)
        subject.offer(*wanted)
        eventually(lambda gone=gone: f"{gone[0]}:{gone[1]}" not in served(subject), 5.0)
        subject.wait_for_log("reload.applied", endpoints=len(wanted))
        ended()
    print(f"{ended()} generations ended, {sum(len(g) for g in generations[: ended()])} streams cut")

    assert ended() > MOST
    assert {f"{address}:{port}" for address, port in wanted} == served(subject)


@nginxes
def test_L07_an_addition_waits_for_an_old_generation_to_end(
    supervise: Supervise,
    nginx: str,
    everywhere: Callable[[int], tuple[str, int]],
    streams: Callable[..., list[HeldConnection]],
) -> None:
    """
    At the limit of old generations an addition is deferred, which is logged once; it is applied
    when the oldest generation has ended by itself.
    """
    subject = started(supervise, nginx, everywhere(0), MAX_DRAINING="1")
    (stream,) = streams(subject.port, 1)
    subject.offer(everywhere(0), everywhere(1))
    subject.wait_for_log("reload.applied", endpoints=2)
    subject.offer(everywhere(0), everywhere(1), everywhere(2))
    line = subject.wait_for_log("reload.deferred")
    assert "1 old generations" in line["reason"]
    assert 2 == line["endpoints_kept"]
    eventually(lambda: subject.lasted > 3.0, 5.0)  # checked several times meanwhile
    assert 2 == len(served(subject))
    assert stream.open

    stream.close()
    subject.wait_for_log("reload.applied", 5.0, endpoints=3)

    assert 3 == len(served(subject))
    assert 1 == len(subject.log_lines("reload.deferred"))
    assert [] == subject.log_lines("generation.ended")
