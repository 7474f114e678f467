"""
The replicas of a mix: each is started, seen to listen, and killed or terminated.

A fork server starts them, so that a hundred starts cost little.  Each has its own address, so
that no other connection can occupy its port before it listens.
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
    A kill of a replica: when it was killed, when it was gone, and the requests in flight.
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
    in_flight_file: Path
    listened_at: float | None = None

    def check_listening(self) -> None:
        """
        Record when it was first seen to listen.
        """
        if self.listened_at is None:
            try:
                connect(self.endpoint[1], self.endpoint[0], 1.0).close()
            except OSError:
                return
            self.listened_at = time.monotonic()

    def kill(self) -> Kill:
        """
        Kill it and return the requests in flight.
        """
        at = time.monotonic()
        self.process.kill()
        self.process.join()
        return Kill(self.name, self.endpoint, at, time.monotonic(), in_flight(self.in_flight_file))

    def terminate(self) -> None:
        """
        Send SIGTERM: it finishes its requests and exits.
        """
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGTERM)


class ReplicaPool:
    """
    All replicas that were started.
    """

    def __init__(self, folder: Path, context: ForkServerContext) -> None:
        self._folder = folder
        self._context = context
        self._port = free_port()
        self.started: list[Member] = []
        self.executed = folder / "executed"

    def start(self, load: float) -> Member:
        """
        Start a replica that listens after `load` seconds.
        """
        number = len(self.started) + 1
        endpoint = (f"127.1.{number // 250}.{number % 250 + 1}", self._port)
        name, in_flight_file = f"replica-{number}", self._folder / f"in-flight-{number}"
        prepare(in_flight_file)
        process = self._context.Process(
            target=serve, args=(name, endpoint, load, in_flight_file, self.executed), daemon=True
        )
        process.start()
        member = Member(name, endpoint, process, in_flight_file)
        self.started.append(member)
        return member

    def executed_twice(self) -> list[int]:
        """
        Return the numbers of the POSTs that were executed more than once.
        """
        numbers = sorted(map(int, self.executed.read_text().split()))
        return [one for one, other in pairwise(numbers) if one == other]


def context() -> ForkServerContext:
    """
    Return the context of a fork server with the needed imports.
    """
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.support.mix.replica", "tests.support.mix.clients"])
    return found


@contextmanager
def replica_pool(folder: Path) -> Iterator[ReplicaPool]:
    """
    Yield a pool; its replicas are killed at the end of the block.
    """
    pool = ReplicaPool(folder, context())
    try:
        yield pool
    finally:
        for member in pool.started:
            member.process.kill()
        for member in pool.started:
            member.process.join()
