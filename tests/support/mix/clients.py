"""
The clients of a mix: a process with many of them, of every kind that is met in practice.

A careful client looks whether the server closed a kept connection before it uses it again; a naive
one does not.  All heed `Connection: close`.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from tests.support.mix.request import Line, Outcome, ask


@dataclass(frozen=True, slots=True)
class Kind:
    """
    So many clients of a kind, who think for `think` seconds on average between two requests.

    `seconds` is how long an answer takes, `most` the upper end where that is chosen anew each time.
    """

    name: str
    count: int
    think: float
    path: str = "fast"
    methods: tuple[str, ...] = ("GET",)
    keeps: bool = True
    is_careful: bool = True
    seconds: float = 0.0
    most: float = 0.0
    sizes: tuple[int, ...] = (0,)

    def request(self, number: int, chance: random.Random) -> tuple[str, bytes, bytes, float]:
        """
        Return its kind as text, the bytes, what is echoed and how long it takes.
        """
        method = chance.choice(self.methods)
        body = chance.randbytes(chance.choice(self.sizes)) if method == "POST" else b""
        seconds = chance.uniform(self.seconds, self.most) if self.most else self.seconds
        lines = [
            f"{method} /{self.path}/{seconds:.2f} HTTP/1.1",
            "Host: mix",
            f"User-Agent: {number}",
            f"X-Number: {number}",
            f"Content-Length: {len(body)}",
        ]
        if self.path == "ws":
            lines += ["Connection: Upgrade", "Upgrade: websocket"]
        elif not self.keeps:
            lines += ["Connection: close"]
        head = "\r\n".join([*lines, "", ""]).encode()
        return f"{self.name} {method}", head + body, body, seconds


_BODIES = (100, 2_000, 60_000)

#: Seconds after which a kept connection may have been closed before its client could go on.
STANDSTILL = 0.3

#: The golden mix: 60 clients, 18 requests in flight for long at any time.
GOLDEN = (
    Kind("careful", 16, 0.1),
    Kind("careful", 10, 0.1, methods=("POST",), sizes=_BODIES),
    Kind("naive", 8, 0.1, is_careful=False),
    Kind("naive", 4, 0.1, is_careful=False, methods=("POST",), sizes=_BODIES),
    Kind("busy", 2, 0.02, methods=("GET", "POST"), sizes=_BODIES),
    Kind("new", 6, 0.1, methods=("GET", "POST"), sizes=_BODIES, keeps=False),
    Kind("slow", 6, 0.1, methods=("GET", "POST"), sizes=_BODIES, path="slow", seconds=1.5),
    Kind("sse", 4, 0.2, path="sse", seconds=1.0, most=5.0),
    Kind("ws", 4, 0.2, path="ws", seconds=1.0, most=5.0),
)


def run(
    port: int, kinds: tuple[Kind, ...], stop: Event, into: Path, *, first: int, least: int
) -> None:
    """
    Be all of them until told to stop, and until there were `least` requests, then write what became
    of each; the entry of a process.  Numbers begin at `first`.
    """
    outcomes: list[Outcome] = []
    numbers = itertools.count(first)

    def is_over() -> bool:
        return len(outcomes) >= least and stop.is_set()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_heart(is_over, outcomes.append))
            for kind in kinds:
                for _ in range(kind.count):
                    group.create_task(_client(port, kind, numbers, is_over, outcomes.append))

    asyncio.run(main())
    into.write_text("\n".join(json.dumps(asdict(each)) for each in outcomes))


def read(path: Path) -> list[Outcome]:
    """
    Return what a process of clients has written.
    """
    return [Outcome(**json.loads(line)) for line in path.read_text().splitlines()]


async def _heart(is_over: Callable[[], bool], tell: Callable[[Outcome], None]) -> None:
    """Note when this process had no time: clients that stood still thought for long."""
    while not is_over():
        at = time.monotonic()
        await asyncio.sleep(0.02)
        if (now := time.monotonic()) - at > STANDSTILL:
            tell(Outcome(0, "standstill", at, now))


async def _client(
    port: int,
    kind: Kind,
    numbers: Iterator[int],
    is_over: Callable[[], bool],
    tell: Callable[[Outcome], None],
) -> None:
    chance = random.Random(next(numbers))
    line: Line | None = None
    await asyncio.sleep(chance.uniform(0, 0.3))
    while not is_over():
        number = next(numbers)
        if line is not None and kind.is_careful and line.is_closed:
            line.close()
            line = None
        name, request, echo, seconds = kind.request(number, chance)
        outcome = Outcome(number, name, time.monotonic())
        line = await ask(port, line, outcome, request, echo=echo, seconds=seconds)
        tell(outcome)
        # A client that waits longer than a second between two requests finds its connection closed
        # by any server, at any time: what is claimed is about those who are at work.
        await asyncio.sleep(min(0.6, chance.expovariate(1 / kind.think)))
    if line is not None:
        line.close()
