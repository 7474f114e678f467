"""
Clients of a storm in one process, which verify every answer: it belongs to this request, and comes
from a replica that nginx says it asked.

Run as a script with nginx's port and the port of all replicas; it sends requests until stdin ends.
On stdout, one JSON object a line: each lost request and each stall of its own loop as it happens,
and the number of verified answers by kind at the end.
"""

import asyncio
import hashlib
import itertools
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

_TIMEOUT = 30.0

#: The maximum pause on a kept connection in seconds: any server may close one that is idle longer.
_MAX_PAUSE = 0.6

#: How often the loop looks at the clock, and which delay is a stall, in seconds.
_LOOK_EVERY = 0.02
_STALL = 0.08


@dataclass(frozen=True, slots=True)
class Kind:
    """
    `count` clients with a pause of `think` seconds on average between requests.
    """

    name: str
    count: int
    think: float
    path: str = "fast"
    body: int = 0
    keeps: bool = False

    @property
    def method(self) -> str:
        return "POST" if self.body else "GET"


_KINDS = (
    Kind("GET", 4, 0.15),
    Kind("GET, kept", 4, 0.15, keeps=True),
    Kind("POST", 3, 0.15, body=2_000),
    Kind("POST, kept", 3, 0.15, body=2_000, keeps=True),
    Kind("POST, large", 1, 0.5, body=300_000),
    Kind("GET, slow", 3, 0.2, path="slow"),
    Kind("POST, slow", 2, 0.2, path="slow", body=500),
    Kind("stream", 3, 0.2, path="stream"),
    Kind("stream, long", 2, 0.2, path="long"),
)


class LostError(Exception):
    """
    A request was lost, in this shape.
    """


@dataclass
class Exchange:
    """
    One request, and what has arrived of its answer.
    """

    kind: Kind
    number: int
    is_reused: bool
    sent: float
    tried: list[str] = field(default_factory=list)
    has_begun: bool = False

    def lost(self, error: Exception) -> dict[str, object]:
        """Describe the loss of this request."""
        match error:
            case LostError():
                shape = str(error.args[0])
            case TimeoutError():
                shape = "no answer in time"
            case ConnectionRefusedError():
                shape = "connection refused"
            case _ if self.has_begun:
                shape = "answer truncated"
            case _:
                shape = ("kept connection " if self.is_reused else "") + "cut before the answer"
        now = time.monotonic()
        lost = {"client": self.kind.name, "sent": self.sent, "ended": now, "shape": shape}
        return lost | {"tried": self.tried, "detail": f"/{self.number}: {error!r}"[:300]}


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Clients:
    """
    All clients, and the number of verified answers.
    """

    def __init__(self, port: int, replicas_port: int) -> None:
        self._port = port
        self._replicas_port = replicas_port
        self._numbers = itertools.count()
        self._verified: Counter[str] = Counter()

    async def run(self) -> None:
        """Send requests until stdin ends."""
        tasks = [asyncio.create_task(self._watch_loop())]
        tasks += [
            asyncio.create_task(self._client(kind)) for kind in _KINDS for _ in range(kind.count)
        ]
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()
        _tell({"verified": self._verified})

    async def _watch_loop(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            now = time.monotonic()
            if now - before - _LOOK_EVERY >= _STALL:
                _tell({"stall": [before, now]})
            before = now

    async def _client(self, kind: Kind) -> None:
        connection: Connection | None = None
        while True:
            await asyncio.sleep(min(_MAX_PAUSE, random.expovariate(1 / kind.think)))
            if connection is not None and connection[0].at_eof():
                connection[1].close()
                connection = None
            is_reused = connection is not None
            exchange = Exchange(kind, next(self._numbers), is_reused, time.monotonic())
            try:
                async with asyncio.timeout(_TIMEOUT):
                    connection = await self._send(exchange, connection)
                self._verified[kind.name] += 1
            except (OSError, EOFError, ValueError, TimeoutError, LostError) as error:
                _tell(exchange.lost(error))
                connection = None

    async def _send(self, exchange: Exchange, connection: Connection | None) -> Connection | None:
        kind = exchange.kind
        reader, writer = connection or await asyncio.open_connection("127.0.0.1", self._port)
        body = random.randbytes(kind.body)
        head = f"{kind.method} /{kind.path}/{exchange.number} HTTP/1.1\r\nHost: storm\r\n"
        head += f"Content-Length: {kind.body}\r\n" if kind.body else ""
        head += "\r\n" if kind.keeps else "Connection: close\r\n\r\n"
        is_kept = False
        try:
            writer.write(head.encode() + body)
            await writer.drain()
            is_kept = await self._read(exchange, reader, hashlib.sha256(body).hexdigest())
        finally:
            if not is_kept:
                writer.close()
        return (reader, writer) if is_kept else None

    async def _read(self, exchange: Exchange, reader: asyncio.StreamReader, sha: str) -> bool:
        """Read and verify the answer; return whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        exchange.has_begun = True
        status_line, *lines = head.lower().split("\r\n")
        fields = [line.partition(": ")[::2] for line in lines if line]
        exchange.tried = [
            address.strip()
            for name, value in fields
            if name == "x-tried"
            for part in value.split(",")
            for address in part.split(" : ")  # between what an internal redirect tried
        ]
        chunked = ("transfer-encoding", "chunked") in fields
        body = await _read_chunks(reader) if chunked else b""
        if not chunked:
            body = await reader.readexactly(int(dict(fields).get("content-length", "0")))
        status = status_line.split(" ")[1]
        if status != "200":
            raise LostError(
                status if status in {"502", "503"} else "another status", status, body[:120]
            )
        self._verify(exchange, body, sha)
        return exchange.kind.keeps and ("connection", "close") not in fields

    def _verify(self, exchange: Exchange, body: bytes, sha: str) -> None:
        kind = exchange.kind
        try:
            answers = [json.loads(line) for line in body.splitlines()]
        except ValueError:
            answers = []
        expected: list[dict[str, object]] = [{"method": kind.method, "length": kind.body}]
        expected[0]["sha"] = sha
        if kind.path in {"stream", "long"}:
            events = 10 if kind.path == "stream" else 30
            expected = [{"number": number, "of": events} for number in range(events)]
        replicas = [each for each in exchange.tried if not each.startswith("unix:")]
        replica = replicas[-1] if replicas else ""
        common = {"id": str(exchange.number), "replica": replica}
        is_real = replica.startswith("127.1.0.") and replica.endswith(f":{self._replicas_port}")
        if not is_real or answers != [common | each for each in expected]:
            raise LostError("wrong answer", exchange.tried, body[:200])


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    found = b""
    while size := int(await reader.readline() or b"broken", 16):
        found += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return found


def _tell(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 - the result


if __name__ == "__main__":
    asyncio.run(Clients(int(sys.argv[1]), int(sys.argv[2])).run())
