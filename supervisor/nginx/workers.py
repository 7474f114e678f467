"""
nginx's workers as the kernel shows them: who they are, whom they answer, and the room for more.

Read from /proc and not asked of nginx, because it matters most when nginx does not answer.
"""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from supervisor.core.events import WorkersCounted, WorkersSignalled
from supervisor.system import cgroup

#: nginx has a table of so many processes; a reload that finds it full leaves nobody (its source:
#: NGX_MAX_PROCESSES).
_TABLE = 1024

_SOCKET = re.compile(r"socket:\[([0-9]+)\]")


def count(master: int, needed: int) -> WorkersCounted:
    """
    Return the workers of a master, and how many more processes may be started.
    """
    pids = frozenset(_children(master))
    # One more than there are workers: `nginx -t` runs before them.
    room = min(cgroup.processes(), float(_TABLE - len(pids)))
    return WorkersCounted(pids, room, needed + 1)


def signalled(pids: frozenset[int], port: int) -> WorkersSignalled:
    """
    Return how many clients are connected to these workers, who are about to be told to go.
    """
    return WorkersSignalled(len(pids), len(_sockets(pids).intersection(_connections(port))))


def count_connections(port: int) -> int:
    """
    Count the established connections to a local port, in this network namespace.
    """
    return len(_connections(port))


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []  # it has just died: that is told otherwise


def _connections(port: int) -> list[str]:
    """
    Return the inodes of the established connections to a local port; 0 is one not accepted yet.

    Not by psutil: where 40,000 closed connections lingered it took half a second, and the signal
    that ends a drain waits for the count.
    """
    established = re.compile(
        rb"\s*\d+: [0-9A-F]+:%04X [0-9A-F:]+ 01(?:\s+\S+){5}\s+([0-9]+)" % port
    )
    found = []
    for name in ("tcp", "tcp6"):
        with suppress(OSError), Path("/proc/self/net", name).open("rb") as lines:
            found += [match[1].decode() for line in lines if (match := established.match(line))]
    return found


def _sockets(pids: Iterable[int]) -> set[str]:
    """Return the inodes of the sockets that processes hold, where they may be looked at."""
    found = set()
    for pid in pids:
        with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    match = _SOCKET.fullmatch(str(Path(entry.path).readlink()))
                    if match:
                        found.add(match[1])
    return found
