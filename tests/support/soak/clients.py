"""
Clients of a soak in one process: with and without keep-alive, some with a body, some with slow or
streamed responses.

Run as a script with a port; it sends requests until stdin ends.  For each line on stdin it prints
as JSON the number of answered and failed requests by kind, and the last failures.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass

_REQUEST_TIMEOUT = 30.0

#: The maximum pause on a kept connection in seconds: any server may close one that is idle longer.
_MAX_PAUSE = 0.6


@dataclass(frozen=True, slots=True)
class Kind:
    """
    `count` clients with a pause of `think` seconds on average between requests.
    """

    name: str
    count: int
    think: float
    path: str = "/fast"
    body: int = 0
    keeps: bool = True


_KINDS = (
    Kind("kept", 8, 0.2),
    Kind("kept, POST", 8, 0.2, body=2_000),
    Kind("large POST", 1, 0.5, body=1_000_000),
    Kind("new", 6, 0.2, keeps=False),
    Kind("slow", 4, 0.2, path="/slow/1.5"),
    Kind("stream", 4, 0.2, path="/stream/2"),
)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_answered: Counter[str] = Counter()
_failures: Counter[str] = Counter()
_last: deque[str] = deque(maxlen=20)


async def main(port: int) -> None:
    """
    Run all clients.
    """
    clients = [
        asyncio.create_task(_client(port, kind)) for kind in _KINDS for _ in range(kind.count)
    ]
    while await asyncio.to_thread(sys.stdin.readline):
        counts = {"answered": _answered, "failed": _failures, "last": list(_last)}
        print(json.dumps(counts), flush=True)  # noqa: T201 - the reply
    for client in clients:
        client.cancel()


async def _client(port: int, kind: Kind) -> None:
    connection: Connection | None = None
    while True:
        await asyncio.sleep(min(_MAX_PAUSE, random.expovariate(1 / kind.think)))
        if connection is not None and connection[0].at_eof():
            connection[1].close()
            connection = None
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT):
                connection = await _send(port, kind, connection)
            _answered[kind.name] += 1
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            _failures[kind.name] += 1
            _last.append(f"{time.monotonic():.1f} {kind.name}: {error!r}")
            connection = None


async def _send(port: int, kind: Kind, connection: Connection | None) -> Connection | None:
    reader, writer = connection or await asyncio.open_connection("127.0.0.1", port)
    head = f"{'POST' if kind.body else 'GET'} {kind.path} HTTP/1.1\r\nHost: soak\r\n"
    head += f"Content-Length: {kind.body}\r\n" if kind.body else ""
    head += "\r\n" if kind.keeps else "Connection: close\r\n\r\n"
    writer.write(head.encode() + b"x" * kind.body)
    await writer.drain()
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    if answer.split(b" ")[1] != b"200":
        raise ValueError(answer.split(b"\r\n")[0].decode())
    if b"transfer-encoding: chunked" in answer:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        await reader.readexactly(int(answer.partition(b"content-length:")[2].split(b"\r\n")[0]))
    if b"connection: close" in answer:
        writer.close()
        return None
    return reader, writer


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
