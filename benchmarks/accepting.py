"""
Any number of endpoints that count their probes, in one small process.

Bound to all addresses, as in `answering`.  Run by its path, it prints its port.  For each line on
stdin it prints, as JSON, the number of probes and the longest time between two probes of one
endpoint since the previous line, and resets both.  It exits when stdin is closed.
"""

import json
import selectors
import socket
import sys
import time

_SELECTOR = selectors.DefaultSelector()
_REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def main() -> None:
    """
    Serve in one thread.
    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("0.0.0.0", 0))  # noqa: S104 - all loopback addresses
    listening.listen(4096)
    listening.setblocking(False)
    _SELECTOR.register(listening, selectors.EVENT_READ)
    _SELECTOR.register(sys.stdin, selectors.EVENT_READ, sys.stdin)
    print(listening.getsockname()[1], flush=True)
    began, count = time.monotonic(), 0
    last: dict[str, float] = {}
    gaps: dict[str, float] = {}
    while True:
        for key, _ in _SELECTOR.select():
            if key.data is sys.stdin:
                if not sys.stdin.buffer.readline():
                    return
                now = time.monotonic()
                worst = max((max(gaps.get(each, 0), now - last[each]) for each in last), default=0)
                stats = {"probes": count, "endpoints": len(last), "gap": worst, "over": now - began}
                print(json.dumps(stats), flush=True)
                began, count, gaps = now, 0, {}
                last = dict.fromkeys(last, now)
            elif key.fileobj is listening:
                connection, _ = listening.accept()
                connection.setblocking(False)
                _SELECTOR.register(connection, selectors.EVENT_READ)
                now, address = time.monotonic(), connection.getsockname()[0]
                gaps[address] = max(gaps.get(address, 0.0), now - last.get(address, now))
                last[address] = now
                count += 1
            elif isinstance(key.fileobj, socket.socket):
                _read(key.fileobj)


def _read(connection: socket.socket) -> None:
    try:
        if connection.recv(65536):
            connection.send(_REPLY)
            return
    except OSError:
        pass  # the peer closed
    _SELECTOR.unregister(connection)
    connection.close()


if __name__ == "__main__":
    main()
