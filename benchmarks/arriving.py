"""
Clients that come when they come, whether or not those before them were answered.

Run by its path, it reads one line of JSON, a port and the arrivals: when, from which address, with
which key, and for how many seconds of work.  It prints how long each took until its answer, in
seconds, or null where there was none.
"""

import asyncio
import json
import sys
import time

_ASKING = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Key: {}\r\nX-Seconds: {}\r\n\r\n"


async def main() -> None:
    """
    Send each at its time, on a connection of its own.
    """
    told = json.loads(await asyncio.to_thread(sys.stdin.readline))
    began = time.monotonic() + 0.2

    async def ask(at: float, client: str, key: str, work: float) -> float | None:
        await asyncio.sleep(began + at - time.monotonic())
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", told["port"], local_addr=(client, 0)
            )
            writer.write(_ASKING.format(key, work).encode())
            status = (await reader.readline()).split()[1]
            await reader.read()
            writer.close()
        except (OSError, EOFError, IndexError):
            return None
        return time.monotonic() - began - at if status == b"200" else None

    print(json.dumps(await asyncio.gather(*(ask(*each) for each in told["arrivals"]))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
