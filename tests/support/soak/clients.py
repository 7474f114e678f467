"""
Clients of a soak in one process: those who keep their connection and those who do not, some with
a body, some whose answers are slow or streamed.

Run by its path, with a port, it asks until stdin ends.  For each line on stdin it prints, as JSON,
how many requests of each kind were answered so far, how many failed, and the last of those.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass

_PATIENCE = 30.0

#: What a kept connection may be idle for: longer, and any server may close it at any time.
_LONGEST_THOUGHT = 0.6


@dataclass(frozen=True, slots=True)
class Kind:
    """
    So many clients, who think so long between two requests.
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

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_answered: Counter[str] = Counter()
_failures: Counter[str] = Counter()
_last: deque[str] = deque(maxlen=20)


async def main(port: int) -> None:
    """
    Be all of them.
    """
    clients = [
        asyncio.create_task(_client(port, kind)) for kind in _KINDS for _ in range(kind.count)
    ]
    while await asyncio.to_thread(sys.stdin.readline):
        said = {"answered": _answered, "failed": _failures, "last": list(_last)}
        print(json.dumps(said), flush=True)  # noqa: T201 - this is its answer
    for client in clients:
        client.cancel()


async def _client(port: int, kind: Kind) -> None:
    line: Line | None = None
    while True:
        await asyncio.sleep(min(_LONGEST_THOUGHT, random.expovariate(1 / kind.think)))
        if line is not None and line[0].at_eof():
            line[1].close()
            line = None
        try:
            async with asyncio.timeout(_PATIENCE):
                line = await _ask(port, kind, line)
            _answered[kind.name] += 1
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            _failures[kind.name] += 1
            _last.append(f"{time.monotonic():.1f} {kind.name}: {error!r}")
            line = None


async def _ask(port: int, kind: Kind, line: Line | None) -> Line | None:
    reader, writer = line or await asyncio.open_connection("127.0.0.1", port)
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
