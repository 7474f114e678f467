"""
The clients of a mix: a process with many clients of all usual kinds.

A careful client checks whether the server closed a kept connection before it reuses it; a naive
one does not.  All respect `Connection: close`.
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

from tests.support.mix.request import Connection, Outcome, send


@dataclass(frozen=True, slots=True)
class Kind:
    """
    `count` clients of a kind, with a pause of `think` seconds on average between requests.

    `seconds` is the duration of a response; with `most` it is random between both.
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

    def request(self, number: int, rng: random.Random) -> tuple[str, bytes, bytes, float]:
        """
        Return its kind as text, its bytes, the expected body and its duration.
        """
        method = rng.choice(self.methods)
        body = rng.randbytes(rng.choice(self.sizes)) if method == "POST" else b""
        seconds = rng.uniform(self.seconds, self.most) if self.most else self.seconds
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

#: A pause of the clients' process in seconds after which a kept connection may have been closed.
STANDSTILL = 0.3

#: The golden mix: 60 clients, with 18 long requests in flight at any time.
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
    Run all clients until stopped, for at least `least` requests, then write the outcomes; the entry
    point of a process.  Numbers start at `first`.
    """
    outcomes: list[Outcome] = []
    numbers = itertools.count(first)

    def is_over() -> bool:
        return len(outcomes) >= least and stop.is_set()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_detect_standstills(is_over, outcomes.append))
            for kind in kinds:
                for _ in range(kind.count):
                    group.create_task(_client(port, kind, numbers, is_over, outcomes.append))

    asyncio.run(main())
    into.write_text("\n".join(json.dumps(asdict(each)) for each in outcomes))


def read(path: Path) -> list[Outcome]:
    """
    Return the outcomes that a process of clients has written.
    """
    return [Outcome(**json.loads(line)) for line in path.read_text().splitlines()]


async def _detect_standstills(is_over: Callable[[], bool], add: Callable[[Outcome], None]) -> None:
    """Record when this process was not scheduled: its clients then paused too long."""
    while not is_over():
        at = time.monotonic()
        await asyncio.sleep(0.02)
        if (now := time.monotonic()) - at > STANDSTILL:
            add(Outcome(0, "standstill", at, now))


async def _client(
    port: int,
    kind: Kind,
    numbers: Iterator[int],
    is_over: Callable[[], bool],
    add: Callable[[Outcome], None],
) -> None:
    rng = random.Random(next(numbers))
    connection: Connection | None = None
    await asyncio.sleep(rng.uniform(0, 0.3))
    while not is_over():
        number = next(numbers)
        if connection is not None and kind.is_careful and connection.is_closed:
            connection.close()
            connection = None
        name, request, echo, seconds = kind.request(number, rng)
        outcome = Outcome(number, name, time.monotonic())
        connection = await send(port, connection, outcome, request, echo=echo, seconds=seconds)
        add(outcome)
        # Any server may close a connection that is idle for longer than a second; the claim is only
        # about busy clients.
        await asyncio.sleep(min(0.6, rng.expovariate(1 / kind.think)))
    if connection is not None:
        connection.close()
