"""
nginx's workers, read from /proc: their pids, their connections, and how many more can start.

nginx itself is not queried, because these numbers matter most when it does not respond.
"""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from supervisor.core.events import WorkersCounted, WorkersSignalled
from supervisor.nginx import socket_diag
from supervisor.system import cgroup

#: Size of nginx's process table (NGX_MAX_PROCESSES).  A reload with a full table leaves no worker
#: that accepts connections.
_MAX_PROCESSES = 1024

_SOCKET = re.compile(r"socket:\[([0-9]+)\]")


def count(master: int, needed: int) -> WorkersCounted:
    """
    Return the workers of a master, how many more processes can start, and how many a reload needs.
    """
    pids = frozenset(children(master))
    # One more than the new workers: `nginx -t` runs before them.
    room = min(cgroup.processes(), float(_MAX_PROCESSES - len(pids)))
    return WorkersCounted(pids, room, needed + 1)


def signalled(pids: frozenset[int], port: int) -> WorkersSignalled:
    """
    Return how many clients are connected to these workers, which are about to be signalled.
    """
    return WorkersSignalled(len(pids), len(_sockets(pids).intersection(_connections(port))))


def count_connections(port: int) -> int:
    """
    Count the established connections to a local port, in this network namespace.
    """
    return len(_connections(port))


def accepted_connections(port: int) -> int:
    """
    Count the established connections to a local port that a process has accepted.
    """
    with suppress(OSError):  # a sandbox may refuse it
        return len(socket_diag.accepted_connections(port))
    return sum(inode != "0" for inode in _connections(port))


def accepted(port: int) -> set[int]:
    """
    Return the inodes of the established connections to a local port that a process has accepted.

    Raises OSError where neither netlink nor /proc lists connections.
    """
    with suppress(OSError):
        return socket_diag.accepted_connections(port)
    Path("/proc/self/net/tcp").open("rb").close()
    return {int(inode) for inode in _connections(port)} - {0}


def children(pid: int) -> list[int]:
    """
    Return the children of a process; none if it has exited.
    """
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        # It has just exited, which is reported elsewhere, or the kernel has no such file.
        return [child for child in _pids() if _parent(child) == pid]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - faster


def _parent(pid: int) -> int:
    """Return the parent of a process, 0 for one that has exited."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    return int(stat.rpartition(b")")[2].split()[1])  # the name before it may contain anything


def _connections(port: int) -> list[str]:
    """
    Return the inodes of the established connections to a local port; 0 is not accepted yet.

    psutil took half a second with 40,000 lingering closed connections, and the signal that ends a
    drain waits for this count.
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
    """Return the inodes of the sockets that processes hold, as far as /proc permits."""
    found = set()
    for pid in pids:
        with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    match = _SOCKET.fullmatch(str(Path(entry.path).readlink()))
                    if match:
                        found.add(match[1])
    return found
