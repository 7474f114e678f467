"""
Replicas of a soak in one small process, on one port of all addresses in 127.0.0.0/8.

The path selects the response: `/fast`, `/slow/SECONDS`, `/stream/SECONDS`.  Run as a script, it
prints its port and serves until stdin ends; it stores nothing.
"""

import asyncio
import sys
import time

_KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_EVENT = b"data: one more\n\n"


async def main() -> None:
    """
    Serve.
    """
    server = await asyncio.start_server(_handle, "0.0.0.0", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the reply
    await asyncio.to_thread(sys.stdin.read)


async def _handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = head.partition(b"content-length:")[2].split(b"\r\n")[0]
            body = await reader.readexactly(int(size or 0))
            _, kind, *seconds = head.split(b" ")[1].split(b"/")
            if kind == b"stream":
                await _stream(writer, float(seconds[0]))
            else:
                if kind == b"slow":
                    await asyncio.sleep(float(seconds[0]))
                writer.write(_KEPT % (len(body), body))
            await writer.drain()
    except (OSError, EOFError):
        pass  # the client disconnected
    finally:
        writer.close()


async def _stream(writer: asyncio.StreamWriter, seconds: float) -> None:
    writer.write(_STREAM)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        writer.write(b"%x\r\n%b\r\n" % (len(_EVENT), _EVENT))
        await writer.drain()
        await asyncio.sleep(0.1)
    writer.write(b"0\r\n\r\n")


if __name__ == "__main__":
    asyncio.run(main())
