"""
A replica as a process: it loads for a while, listens, and leaves politely at SIGTERM.

It closes idle connections after a few seconds and all of them when it leaves, as the usual servers
of Python do; what is open by then it finishes.  Killed, it takes with it what its flight file says.
"""

import asyncio
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.support.mix.in_flight import Flight

#: How long an idle connection is kept, in seconds: what uvicorn does.
_IDLE = 5.0
_EVERY = 0.2


@dataclass(frozen=True, slots=True)
class _Asked:
    """
    The head of a request: `seconds` is how long the answer is to take.
    """

    method: str
    kind: str
    seconds: float
    number: int
    size: int
    closes: bool


def serve(name: str, address: tuple[str, int], load: float, flight: Path, executed: Path) -> None:
    """
    Be a replica until told to leave; the entry of its process.
    """
    time.sleep(load)  # the model, in a real one
    with executed.open("ab", buffering=0) as log:
        asyncio.run(_Server(name, Flight(flight), log).run(address))


class _Server:
    """
    One life.
    """

    def __init__(self, name: str, flight: Flight, executed: BinaryIO) -> None:
        self._name = name
        self._flight = flight
        self._executed = executed
        self._idle: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = asyncio.Event()

    async def run(self, address: tuple[str, int]) -> None:
        """
        Listen until told to leave, then finish what is open.
        """
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._leaving.set)
        server = await asyncio.start_server(self._attend, *address, backlog=1024)
        await self._leaving.wait()
        server.close()
        for writer in self._idle:
            writer.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=30)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while asked := await self._next(reader, writer):
                place = self._flight.begin(asked.number)
                try:
                    keeps = await self._answer(asked, reader, writer)
                finally:
                    self._flight.end(place)
                if not keeps:
                    break
                self._idle.add(writer)
        except (OSError, EOFError, TimeoutError):
            pass  # the other side left, or had nothing to say
        finally:
            self._idle.discard(writer)
            writer.close()

    async def _next(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> _Asked | None:
        async with asyncio.timeout(_IDLE):
            head = await reader.readuntil(b"\r\n\r\n")
        self._idle.discard(writer)
        return _parsed(head)

    async def _answer(
        self, asked: _Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """
        Answer one request; tell whether another may follow.
        """
        body = await reader.readexactly(asked.size)
        if asked.kind == "sse":
            return await self._stream(asked, writer)
        if asked.kind == "ws":
            return await self._tunnel(asked, reader, writer)
        if asked.method == "POST":
            self._executed.write(b"%d\n" % asked.number)
        if asked.seconds:
            await asyncio.sleep(asked.seconds)
        keeps = not asked.closes and not self._leaving.is_set()
        length = {"Content-Length": str(len(body))} | ({} if keeps else {"Connection": "close"})
        writer.write(self._head(asked, 200, length) + body)
        await writer.drain()
        return keeps

    async def _stream(self, asked: _Asked, writer: asyncio.StreamWriter) -> bool:
        kind = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
        writer.write(self._head(asked, 200, kind))
        end = time.monotonic() + asked.seconds
        while time.monotonic() < end:
            event = b"data: %d\n\n" % asked.number
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(_EVERY)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return not asked.closes and not self._leaving.is_set()

    async def _tunnel(
        self, asked: _Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        writer.write(self._head(asked, 101, {"Upgrade": "websocket", "Connection": "Upgrade"}))
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        return False

    def _head(self, asked: _Asked, status: int, headers: Mapping[str, str]) -> bytes:
        own = {"X-Replica": self._name, "X-Number": str(asked.number), **headers}
        lines = [f"HTTP/1.1 {status} Fine", *(f"{name}: {text}" for name, text in own.items())]
        return "\r\n".join([*lines, "", ""]).encode()


def _parsed(head: bytes) -> _Asked | None:
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
    kind, _, seconds = path.lstrip("/").partition("/")
    return _Asked(
        method,
        kind,
        float(seconds or 0),
        int(headers.get("x-number", 0)),
        int(headers.get("content-length", 0)),
        headers.get("connection", "") == "close",
    )
