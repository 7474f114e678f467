"""
Open-loop clients: each request is sent at its own time, even if earlier ones are unanswered.

Run by its path, it reads one line of JSON: a port and the arrivals, each with time, client address,
key and seconds of work.  It prints the time from each arrival to its response in seconds, or null
without a response.
"""

import asyncio
import json
import sys
import time

_REQUEST = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Key: {}\r\nX-Seconds: {}\r\n\r\n"


async def main() -> None:
    """
    Send each request at its time, on its own connection.
    """
    given = json.loads(await asyncio.to_thread(sys.stdin.readline))
    began = time.monotonic() + 0.2

    async def send(at: float, client: str, key: str, work: float) -> float | None:
        await asyncio.sleep(began + at - time.monotonic())
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", given["port"], local_addr=(client, 0)
            )
            writer.write(_REQUEST.format(key, work).encode())
            status = (await reader.readline()).split()[1]
            await reader.read()
            writer.close()
        except (OSError, EOFError, IndexError):
            return None
        return time.monotonic() - began - at if status == b"200" else None

    print(
        json.dumps(await asyncio.gather(*(send(*each) for each in given["arrivals"]))), flush=True
    )


if __name__ == "__main__":
    asyncio.run(main())
