"""
One replica of a storm, a process of its own: its answers prove which request they belong to.

The path is `/KIND/ID`, KIND being `fast`, `slow` or `stream`.  Run as a script with an address and
a port; it serves until stdin ends.  Lines on stdin: `slow SECONDS` delays every answer, `reset`
resets all open connections, `refuse` and `accept` close and open the port.
"""

import asyncio
import hashlib
import json
import socket
import struct
import sys

#: Seconds of an answer of each kind, and the events of a stream, one in 0.2 s.
_SLOW = 1.5
_EVENTS = {"stream": 10, "long": 30}
_EVENT_EVERY = 0.2

_RESET = struct.pack("ii", 1, 0)


class Replica:
    """
    The server and what it was told.
    """

    def __init__(self, address: str, port: int) -> None:
        self.name = f"{address}:{port}"
        self._at = (address, port)
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._delay = 0.0

    async def run(self) -> None:
        """Serve until stdin ends."""
        await self._accept()
        print("ready", flush=True)  # noqa: T201 - the reply
        while line := await asyncio.to_thread(sys.stdin.readline):
            match line.split():
                case ["slow", seconds]:
                    self._delay = float(seconds)
                case ["reset"]:
                    self._reset()
                case ["refuse"] if self._server is not None:
                    self._server.close()
                    self._server = None
                case ["accept"] if self._server is None:
                    await self._accept()
                case _:
                    pass
            print("done", flush=True)  # noqa: T201 - the reply

    async def _accept(self) -> None:
        self._server = await asyncio.start_server(self._handle, *self._at, backlog=1024)

    def _reset(self) -> None:
        for writer in list(self._open):
            opened = writer.get_extra_info("socket")
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                await self._answer(reader, writer)
                await writer.drain()
        except (OSError, EOFError):
            pass  # the client disconnected
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split("\r\n")[0].split(" ")
        size = head.lower().partition("content-length:")[2].split("\r\n")[0]
        body = await reader.readexactly(int(size or 0))
        _, kind, request_id = path.split("/")
        await asyncio.sleep(self._delay + (_SLOW if kind == "slow" else 0))
        if kind in _EVENTS:
            await self._stream(writer, request_id, _EVENTS[kind])
            return
        answer: dict[str, object] = {"id": request_id, "method": method, "replica": self.name}
        answer |= {"length": len(body), "sha": hashlib.sha256(body).hexdigest()}
        data = json.dumps(answer).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data))

    async def _stream(self, writer: asyncio.StreamWriter, request_id: str, events: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(events):
            event = {"id": request_id, "replica": self.name, "number": number, "of": events}
            data = json.dumps(event).encode() + b"\n"
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
            await asyncio.sleep(_EVENT_EVERY)
        writer.write(b"0\r\n\r\n")


if __name__ == "__main__":
    asyncio.run(Replica(sys.argv[1], int(sys.argv[2])).run())
