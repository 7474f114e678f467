"""
A client in a process of its own that knocks at a port all the time: new connections only.

It stands outside the measuring program, so that neither holds up the other; it is told what to do
by a line of JSON on stdin and answers with one.  Run by its path, it needs the standard library
only.  Times are of the monotonic clock, which all processes of a machine share.
"""

import json
import socket
import sys
import time

_REQUEST = b"GET / HTTP/1.0\r\n\r\n"
_PATIENCE = 2.0


def knock(port: int) -> tuple[float, float, str]:
    """
    Return when a new connection was made, when its answer was read, and the answer.

    The answer is the body of a 200, the status of another one, or why there was none.
    """
    answer, connected = b"", 0.0
    try:
        with socket.socket() as line:
            line.settimeout(_PATIENCE)
            line.connect(("127.0.0.1", port))
            connected = time.monotonic()
            line.sendall(_REQUEST)
            while chunk := line.recv(65536):
                answer += chunk
    except ConnectionRefusedError:
        return time.monotonic(), time.monotonic(), "refused"
    except OSError as error:
        return connected or time.monotonic(), time.monotonic(), type(error).__name__
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    status = words[1].decode() if len(words) > 1 else "nothing"
    return connected, time.monotonic(), body.decode() if status == "200" else status


def watch(port: int, seconds: float, every: float, until: str) -> list[tuple[float, float, str]]:
    """
    Knock every so often, `until` "refused" or "answered" or, with neither, for so many seconds.
    """
    seen: list[tuple[float, float, str]] = []
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        found = knock(port)
        if not until:
            seen.append(found)
        elif found[2] == until or (until == "answered" and found[2][:1].isdigit()):
            return [found]
        time.sleep(max(0.0, now + every - time.monotonic()))
    return seen


if __name__ == "__main__":
    for task in sys.stdin:
        sys.stdout.write(json.dumps(watch(**json.loads(task))) + "\n")
        sys.stdout.flush()
