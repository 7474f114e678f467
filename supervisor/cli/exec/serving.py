"""
Whether the command serves: one of its processes listens on a TCP port.

At a deadline that it shares with a balancer, the balancer still drains requests to it; a command
that does not listen has no request in progress, and ends at its deadline.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from supervisor.cli.exec.subreaper import descendants

if TYPE_CHECKING:
    from collections.abc import Iterator

#: In /proc/net/tcp: states of a socket, and the columns of its state and its inode.
_LISTEN, _TIME_WAIT = "0A", "06"
_STATE_COLUMN, _INODE_COLUMN = 3, 9


def is_serving() -> bool:
    """
    Return whether a process below this one listens; True if /proc does not permit to tell.
    """
    tables: dict[str, set[str]] = {}
    return any(_listens(pid, tables) for pid in descendants())


def _listens(pid: int, tables: dict[str, set[str]]) -> bool:
    """Return whether a process listens; `tables` keeps what listens by network namespace."""
    try:
        namespace = os.readlink(f"/proc/{pid}/ns/net")
        if namespace not in tables:
            tables[namespace] = _listening(pid)
        held = {_target(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has just exited
    except OSError:
        return True  # of another user, for example
    return not held.isdisjoint(tables[namespace])


def _listening(pid: int) -> set[str]:
    """Return the listening TCP sockets in the network namespace of a process."""
    found = set(_rows(f"/proc/{pid}/net/tcp"))
    if os.path.exists(f"/proc/{pid}/net/tcp6"):  # a kernel without IPv6 has none
        found.update(_rows(f"/proc/{pid}/net/tcp6"))
    return found


def _rows(path: str) -> Iterator[str]:
    """Yield the sockets that listen; the kernel lists them before those with a peer."""
    with open(path) as table:
        for line in table:
            row = line.split()
            if row[_STATE_COLUMN] == _TIME_WAIT:
                return  # 80,000 closed connections would take half a second
            if row[_STATE_COLUMN] == _LISTEN:
                yield f"socket:[{row[_INODE_COLUMN]}]"


def _target(descriptor: str) -> str:
    try:
        return os.readlink(descriptor)
    except FileNotFoundError:
        return ""  # closed in the meantime
