"""
The replicas of a mix: each born, seen to listen, killed or asked to leave.

A server of processes forks them, so that a hundred births cost little.  Each has an address of its
own, so that no port is ever taken by somebody else's connection before it listens.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.support.client import connect
from tests.support.mix.in_flight import in_flight, prepare
from tests.support.mix.replica import serve
from tests.support.waiting import free_port


@dataclass(frozen=True, slots=True)
class Kill:
    """
    An abrupt death: whose, when it was killed and when it was gone, and what it had begun.
    """

    name: str
    endpoint: tuple[str, int]
    at: float
    gone: float
    in_flight: frozenset[int]


@dataclass
class Member:
    """
    One replica.
    """

    name: str
    endpoint: tuple[str, int]
    process: BaseProcess
    flight: Path
    listened_at: float | None = None

    def look(self) -> None:
        """
        Note when it was first seen to listen.
        """
        if self.listened_at is None:
            try:
                connect(self.endpoint[1], self.endpoint[0], 1.0).close()
            except OSError:
                return
            self.listened_at = time.monotonic()

    def kill(self) -> Kill:
        """
        Kill it and return what it took with it.
        """
        at = time.monotonic()
        self.process.kill()
        self.process.join()
        return Kill(self.name, self.endpoint, at, time.monotonic(), in_flight(self.flight))

    def leave(self) -> None:
        """
        Ask it to finish and go.
        """
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGTERM)


class Farm:
    """
    All that were ever born.
    """

    def __init__(self, folder: Path, context: ForkServerContext) -> None:
        self._folder = folder
        self._context = context
        self._port = free_port()
        self.born: list[Member] = []
        self.executed = folder / "executed"

    def bear(self, load: float) -> Member:
        """
        Start a replica that listens after `load` seconds.
        """
        number = len(self.born) + 1
        endpoint = (f"127.1.{number // 250}.{number % 250 + 1}", self._port)
        name, flight = f"replica-{number}", self._folder / f"flight-{number}"
        prepare(flight)
        process = self._context.Process(
            target=serve, args=(name, endpoint, load, flight, self.executed), daemon=True
        )
        process.start()
        member = Member(name, endpoint, process, flight)
        self.born.append(member)
        return member

    def executed_twice(self) -> list[int]:
        """
        Return the numbers of the POSTs that were executed more than once.
        """
        numbers = sorted(map(int, self.executed.read_text().split()))
        return [one for one, other in pairwise(numbers) if one == other]


def context() -> ForkServerContext:
    """
    Return where processes come from: one that has imported what they need.
    """
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.support.mix.replica", "tests.support.mix.clients"])
    return found


@contextmanager
def farm(folder: Path) -> Iterator[Farm]:
    """
    Have replicas; none outlives the block.
    """
    made = Farm(folder, context())
    try:
        yield made
    finally:
        for member in made.born:
            member.process.kill()
        for member in made.born:
            member.process.join()
