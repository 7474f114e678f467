"""
Shared setup of the measurements: a registry, replicas, a client, and the two programs.

Both programs run as PID 1 of their own namespace if the machine allows it, as in a container; ours
runs on an interpreter with the locked dependencies only.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support.clean_environment import clean_python
from tests.support.fake_nomad import FakeNomad
from tests.support.namespaces import why_no_unshare
from tests.support.nomad_registry import Row, row
from tests.support.subjects import Old, Ours
from tests.support.supervised import Supervised

SERVICE = "web"

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Knock:
    """
    One new connection: its time, the time of the response, and the response.
    """

    at: float
    answered_at: float
    answer: str


class Helper:
    """
    A script of this package as a process; it exits when its stdin is closed.
    """

    def __init__(self, script: str, *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_HERE / script), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def write(self, line: str) -> None:
        """Write a line to its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def read(self) -> str:
        """Read its next line, waiting for it."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.terminate()


class Client(Helper):
    """
    Connects to a port repeatedly in the background, until the result is read.
    """

    def __init__(self) -> None:
        super().__init__("knocking.py")

    def begin(
        self, port: int, seconds: float, until: str = "", every: float = 0.001, old: str = ""
    ) -> None:
        """Start connecting."""
        task = {"port": port, "seconds": seconds, "until": until, "every": every, "old": old}
        self.write(json.dumps(task))

    def result(self) -> list[Knock]:
        """Wait until it is finished."""
        return [Knock(*found) for found in json.loads(self.read())]


class Replicas(Helper):
    """
    Any number of replicas, in sets with distinct addresses.
    """

    def __init__(self) -> None:
        super().__init__("answering.py")
        self.port = int(self.read())

    def endpoints(self, which: int, count: int) -> list[tuple[str, int]]:
        """Return the first `count` replicas of a set: 127.SET.x.y."""
        return [(f"127.{which}.{n // 250}.{n % 250 + 1}", self.port) for n in range(count)]


def rows(endpoints: Sequence[tuple[str, int]], service: str = SERVICE) -> list[Row]:
    """
    Build the registry's rows in advance, so that this time is not part of a change.
    """
    return [row(service, address, port) for address, port in endpoints]


@contextlib.contextmanager
def ours(nomad: FakeNomad, **settings: str) -> Iterator[Supervised]:
    """
    Run the supervisor.
    """
    command = (str(clean_python()), "-m", "supervisor", "run")
    subject = Ours(nomad, SERVICE, command)
    with Supervised(nomad, subject=subject, **_how(settings)) as program:
        yield program


@contextlib.contextmanager
def replaced(endpoints: Sequence[tuple[str, int]] = (), **settings: str) -> Iterator[Supervised]:
    """
    Run the replaced pattern: bash, nginx, sleep and kill.
    """
    subject = Old()
    subject.offer(endpoints)
    with FakeNomad() as nomad, Supervised(nomad, subject=subject, **_how(settings)) as program:
        yield program


def _how(settings: dict[str, str]) -> dict[str, Any]:
    return {"pid1": not why_no_unshare(), **settings}
