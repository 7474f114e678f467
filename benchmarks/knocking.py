"""
A client in its own process that connects to a port repeatedly, always with new connections.

It runs outside the measuring program, so that neither delays the other; it reads each task as a
line of JSON from stdin and prints the result as one.  Run by its path, it needs only the standard
library.  Times are of the monotonic clock, which all processes of a machine share.
"""

import json
import socket
import sys
import time

_REQUEST = b"GET / HTTP/1.0\r\n\r\n"
_TIMEOUT = 2.0

#: Without a response of the old set for this long it is replaced; nginx's old workers accept for
#: 100 ms after a reload.
_REPLACED = 0.25


def knock(port: int) -> tuple[float, float, str]:
    """
    Return the time of a new connection, the time its response was read, and the response.

    The response is the body of a 200, another status code, or the error.
    """
    answer, connected = b"", 0.0
    try:
        with socket.socket() as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(("127.0.0.1", port))
            connected = time.monotonic()
            connection.sendall(_REQUEST)
            while chunk := connection.recv(65536):
                answer += chunk
    except ConnectionRefusedError:
        return time.monotonic(), time.monotonic(), "refused"
    except OSError as error:
        return connected or time.monotonic(), time.monotonic(), type(error).__name__
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    status = words[1].decode() if len(words) > 1 else "nothing"
    return connected, time.monotonic(), body.decode() if status == "200" else status


def watch(
    port: int, seconds: float, every: float, until: str, old: str
) -> list[tuple[float, float, str]]:
    """
    Connect at each interval `until` "refused" or "answered" or, if empty, for the whole duration.

    With `old`, the start of a set's responses, it ends when other responses have taken their place.
    """
    seen: list[tuple[float, float, str]] = []
    end = time.monotonic() + seconds
    last_old, is_replaced = time.monotonic(), False
    while (now := time.monotonic()) < end and not (is_replaced and now > last_old + _REPLACED):
        found = knock(port)
        if not until:
            seen.append(found)
        elif found[2] == until or (until == "answered" and found[2][:1].isdigit()):
            return [found]
        if old and found[2].startswith(old):
            last_old = found[0]
        elif old and found[2].startswith("127."):
            is_replaced = True
        time.sleep(max(0.0, now + every - time.monotonic()))
    return seen


if __name__ == "__main__":
    for task in sys.stdin:
        sys.stdout.write(json.dumps(watch(**json.loads(task))) + "\n")
        sys.stdout.flush()
