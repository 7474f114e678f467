"""
Replicas that process a few requests at a time, like an inference server, and queue the others.

Bound to all addresses: every address of 127.0.0.0/8 is its own replica.  A request's `X-Seconds`
header sets its duration.  Run by its path with the number of parallel requests, it prints its port
and serves until stdin is closed.
"""

import asyncio
import sys
from collections import defaultdict

_REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def main(at_a_time: int) -> None:
    """
    Serve requests in order of arrival.
    """
    working: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(at_a_time))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("sockname")[0]
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                seconds = float(head.lower().partition(b"x-seconds:")[2].split()[0])
                async with working[address]:
                    await asyncio.sleep(seconds)
                writer.write(_REPLY)
        except (OSError, EOFError):
            pass  # the peer closed: a probe, or an idle connection
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "0.0.0.0", 0)  # noqa: S104 - loopback
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
