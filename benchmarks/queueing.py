"""
Replicas that work on a few requests at a time, as an inference server does; the others queue.

Bound to all addresses: every one of 127.0.0.0/8 is a replica of its own.  A request says in its
`X-Seconds` how long it takes.  Run by its path, with how many at a time, it prints its port and
serves until stdin ends.
"""

import asyncio
import sys
from collections import defaultdict

_REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def main(at_a_time: int) -> None:
    """
    Serve; who comes first is served first.
    """
    working: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(at_a_time))

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("sockname")[0]
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                seconds = float(head.lower().partition(b"x-seconds:")[2].split()[0])
                async with working[address]:
                    await asyncio.sleep(seconds)
                writer.write(_REPLY)
        except (OSError, EOFError):
            pass  # it hung up: a probe, or a connection that was kept long enough
        finally:
            writer.close()

    server = await asyncio.start_server(attend, "0.0.0.0", 0)  # noqa: S104 - loopback is meant
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
