"""
A replica as a process: it loads for a while, listens, and exits gracefully at SIGTERM.

Like the usual servers of Python it closes idle connections after a few seconds and at SIGTERM,
and finishes open requests.  After a kill its in-flight file has the unfinished requests.
"""

import asyncio
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.support.mix.in_flight import InFlight

#: How long an idle connection is kept, in seconds: what uvicorn does.
_IDLE = 5.0
_EVERY = 0.2


@dataclass(frozen=True, slots=True)
class _Head:
    """
    The head of a request: `seconds` is the duration of the response.
    """

    method: str
    kind: str
    seconds: float
    number: int
    size: int
    closes: bool


def serve(
    name: str, address: tuple[str, int], load: float, in_flight_file: Path, executed: Path
) -> None:
    """
    Run a replica until SIGTERM; the entry point of its process.
    """
    time.sleep(load)  # the model, in a real one
    with executed.open("ab", buffering=0) as log:
        asyncio.run(_Server(name, InFlight(in_flight_file), log).run(address))


class _Server:
    """
    The server of a replica.
    """

    def __init__(self, name: str, in_flight: InFlight, executed: BinaryIO) -> None:
        self._name = name
        self._in_flight = in_flight
        self._executed = executed
        self._idle: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def run(self, address: tuple[str, int]) -> None:
        """
        Listen until SIGTERM, then finish open requests.
        """
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopping.set)
        server = await asyncio.start_server(self._handle, *address, backlog=1024)
        await self._stopping.wait()
        server.close()
        for writer in self._idle:
            writer.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=30)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while head := await self._next(reader, writer):
                slot = self._in_flight.begin(head.number)
                try:
                    keeps = await self._answer(head, reader, writer)
                finally:
                    self._in_flight.end(slot)
                if not keeps:
                    break
                self._idle.add(writer)
        except (OSError, EOFError, TimeoutError):
            pass  # the client disconnected, or was idle
        finally:
            self._idle.discard(writer)
            writer.close()

    async def _next(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> _Head | None:
        async with asyncio.timeout(_IDLE):
            head = await reader.readuntil(b"\r\n\r\n")
        self._idle.discard(writer)
        return _parsed(head)

    async def _answer(
        self, head: _Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """
        Answer one request; return whether another may follow.
        """
        body = await reader.readexactly(head.size)
        if head.kind == "sse":
            return await self._stream(head, writer)
        if head.kind == "ws":
            return await self._tunnel(head, reader, writer)
        if head.method == "POST":
            self._executed.write(b"%d\n" % head.number)
        if head.seconds:
            await asyncio.sleep(head.seconds)
        keeps = not head.closes and not self._stopping.is_set()
        length = {"Content-Length": str(len(body))} | ({} if keeps else {"Connection": "close"})
        writer.write(self._head(head, 200, length) + body)
        await writer.drain()
        return keeps

    async def _stream(self, head: _Head, writer: asyncio.StreamWriter) -> bool:
        kind = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
        writer.write(self._head(head, 200, kind))
        end = time.monotonic() + head.seconds
        while time.monotonic() < end:
            event = b"data: %d\n\n" % head.number
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(_EVERY)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return not head.closes and not self._stopping.is_set()

    async def _tunnel(
        self, head: _Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(self._head(head, 101, {"Upgrade": "websocket", "Connection": "Upgrade"}))
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        return False

    def _head(self, head: _Head, status: int, headers: Mapping[str, str]) -> bytes:
        own = {"X-Replica": self._name, "X-Number": str(head.number), **headers}
        lines = [f"HTTP/1.1 {status} Fine", *(f"{name}: {text}" for name, text in own.items())]
        return "\r\n".join([*lines, "", ""]).encode()


def _parsed(head: bytes) -> _Head | None:
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
    kind, _, seconds = path.lstrip("/").partition("/")
    return _Head(
        method,
        kind,
        float(seconds or 0),
        int(headers.get("x-number", 0)),
        int(headers.get("content-length", 0)),
        headers.get("connection", "") == "close",
    )
