"""
One request of a client of the mix over a plain connection, without retries.
"""

import asyncio
import time
from dataclasses import dataclass, field

#: The maximum duration of a request of the mix, even on a busy machine, in seconds.
_REQUEST_TIMEOUT = 30.0
_PING = b"ping"


@dataclass(slots=True)
class Outcome:
    """
    The result of a request: `phase` is its last phase, `error` is empty after success.

    `reused` counts earlier responses on its connection; `replica` is the name in the response.
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
class Connection:
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
        Whether the server has closed the connection, as far as the client can see.
        """
        return self.reader.at_eof() or self.reader.exception() is not None

    def close(self) -> None:
        """
        Close it.
        """
        self.writer.close()


async def open_connection(port: int) -> Connection:
    """
    Open a connection.
    """
    return Connection(*await asyncio.open_connection("127.0.0.1", port))


async def send(
    port: int,
    connection: Connection | None,
    outcome: Outcome,
    request: bytes,
    *,
    echo: bytes,
    seconds: float,
) -> Connection | None:
    """
    Send a request on a connection, or on a new one; return it if it can be used again.

    `echo` is the expected body; a stream has to last `seconds` and end properly.
    """
    try:
        async with asyncio.timeout(_REQUEST_TIMEOUT):
            if connection is None:
                connection = await open_connection(port)
            outcome.reused, outcome.phase = connection.answers, "send"
            connection.writer.write(request)
            await connection.writer.drain()
            outcome.phase = "head"
            await _read(connection, outcome, echo, seconds)
            connection.answers += 1
    except (OSError, EOFError, TimeoutError, ValueError) as error:
        outcome.error = repr(error)
    outcome.ended = time.monotonic()
    if connection is not None and (outcome.error or not connection.is_kept):
        connection.close()
        return None
    return connection


async def _read(connection: Connection, outcome: Outcome, echo: bytes, seconds: float) -> None:
    head = (await connection.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers = {n.lower(): text for n, _, text in (each.partition(": ") for each in lines)}
    outcome.status, outcome.replica = int(first.split(" ")[1]), headers.get("x-replica", "")
    outcome.phase = "body"
    connection.is_kept = headers.get("connection", "") != "close"
    if outcome.status == 101:
        connection.is_kept = False
        await _tunnel(connection, seconds)
    elif headers.get("transfer-encoding") == "chunked":
        while size := int(await connection.reader.readline(), 16):
            await connection.reader.readexactly(size + 2)
        await connection.reader.readline()
    else:
        body = await connection.reader.readexactly(int(headers["content-length"]))
        if outcome.status == 200 and body != echo:
            raise ValueError(f"unexpected body: {body[:40]!r}")
    if outcome.status not in {200, 101}:
        raise ValueError(f"status {outcome.status}")
    if headers.get("x-number") != str(outcome.number):
        raise ValueError(f"a response to another request: {headers.get('x-number')}")


async def _tunnel(connection: Connection, seconds: float) -> None:
    """Exchange pings for this time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        connection.writer.write(_PING)
        await connection.writer.drain()
        await connection.reader.readexactly(len(_PING))
        await asyncio.sleep(0.2)
