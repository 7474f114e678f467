"""
One request of a client of the mix, over a bare connection: nothing is retried, nothing is hidden.
"""

import asyncio
import time
from dataclasses import dataclass, field

#: No request of the mix is under way for longer, however busy the machine is, in seconds.
_PATIENCE = 30.0
_PING = b"ping"


@dataclass(slots=True)
class Outcome:
    """
    What became of a request: `phase` is how far it came, `trouble` is empty where all went well.

    `reused` counts the answers that its connection gave before; `replica` is who says to have
    answered.
    """

    number: int
    kind: str
    at: float
    ended: float = 0.0
    reused: int = 0
    phase: str = "connect"
    status: int = 0
    replica: str = ""
    error: str = ""

    @property
    def is_fresh(self) -> bool:
        """
        Whether its connection was new.
        """
        return not self.reused


@dataclass(slots=True)
class Line:
    """
    A connection that is kept as long as the server keeps it.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answers: int = 0
    is_kept: bool = field(default=True)

    @property
    def is_closed(self) -> bool:
        """
        Whether the end of the connection has been heard of: what a careful client looks at.
        """
        return self.reader.at_eof() or self.reader.exception() is not None

    def close(self) -> None:
        """
        Hang up.
        """
        self.writer.close()


async def opened(port: int) -> Line:
    """
    Open a connection.
    """
    return Line(*await asyncio.open_connection("127.0.0.1", port))


async def ask(
    port: int,
    line: Line | None,
    outcome: Outcome,
    request: bytes,
    *,
    echo: bytes,
    seconds: float,
) -> Line | None:
    """
    Ask on a connection, or on a new one; return it where another request may follow on it.

    `echo` is what has to come back; a stream has to last its `seconds` and be ended as agreed.
    """
    try:
        async with asyncio.timeout(_PATIENCE):
            if line is None:
                line = await opened(port)
            outcome.reused, outcome.phase = line.answers, "send"
            line.writer.write(request)
            await line.writer.drain()
            outcome.phase = "head"
            await _read(line, outcome, echo, seconds)
            line.answers += 1
    except (OSError, EOFError, TimeoutError, ValueError) as error:
        outcome.error = repr(error)
    outcome.ended = time.monotonic()
    if line is not None and (outcome.error or not line.is_kept):
        line.close()
        return None
    return line


async def _read(line: Line, outcome: Outcome, echo: bytes, seconds: float) -> None:
    head = (await line.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers = {n.lower(): text for n, _, text in (each.partition(": ") for each in lines)}
    outcome.status, outcome.replica = int(first.split(" ")[1]), headers.get("x-replica", "")
    outcome.phase = "body"
    line.is_kept = headers.get("connection", "") != "close"
    if outcome.status == 101:
        line.is_kept = False
        await _tunnel(line, seconds)
    elif headers.get("transfer-encoding") == "chunked":
        while size := int(await line.reader.readline(), 16):
            await line.reader.readexactly(size + 2)
        await line.reader.readline()
    else:
        body = await line.reader.readexactly(int(headers["content-length"]))
        if outcome.status == 200 and body != echo:
            raise ValueError(f"another body: {body[:40]!r}")
    if outcome.status not in {200, 101}:
        raise ValueError(f"status {outcome.status}")
    if headers.get("x-number") != str(outcome.number):
        raise ValueError(f"an answer to another request: {headers.get('x-number')}")


async def _tunnel(line: Line, seconds: float) -> None:
    """Be echoed until the time is over, then say goodbye."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        line.writer.write(_PING)
        await line.writer.drain()
        await line.reader.readexactly(len(_PING))
        await asyncio.sleep(0.2)
