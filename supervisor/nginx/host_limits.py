"""
What the host grants nginx: processors, open files, listen addresses, a user for its workers.

nginx's own `worker_processes auto` counts the host's processors and ignores cpusets and quotas: a
hundred workers on a large host, and a blackout when each keeps one old connection over ten reloads.
"""

import grp
import math
import os
import pwd
import resource
import socket
from collections.abc import Iterable
from pathlib import Path

from supervisor.system import cgroup

_MOST_WORKERS = 8
_MOST_OPEN_FILES = 65536
_MOST_CONNECTIONS = 8192


def worker_count(root: Path = cgroup.ROOT) -> int:
    """
    Return how many workers suit the processors we may use and the quota we have.
    """
    granted = min(_MOST_WORKERS, len(os.sched_getaffinity(0)), cgroup.processors(root))
    return max(1, math.ceil(granted))


def open_files() -> tuple[int, int]:
    """
    Return the open files and the connections to grant each worker, within the hard limit.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = _MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_OPEN_FILES)
    return files, max(16, min(_MOST_CONNECTIONS, files // 2))


def listen_directives(addresses: Iterable[str], port: int) -> tuple[str, ...]:
    """
    Return what to listen on, as nginx takes it: all addresses, IPv6 where it can be had.
    """
    given = [
        f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address in addresses
    ]
    if not given:
        given = [f"0.0.0.0:{port}"] + ([f"[::]:{port}"] if _has_ipv6() else [])
    return tuple(f"{place} ipv6only=on" if place.startswith("[") else place for place in given)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def worker_user() -> str:
    """
    Return `user group` for nginx's workers when we are root; otherwise they run as we do.

    A root whose capabilities were all dropped can become nobody else: workers that try are dead
    before they serve, and a root without any capability is not much of a root.
    """
    if os.geteuid() != 0:
        return ""
    if not _may_change_users():
        return "root root"
    for name in ("nginx", "www-data", "nobody"):
        try:
            entry = pwd.getpwnam(name)
            return f"{name} {grp.getgrgid(entry.pw_gid).gr_name}"
        except KeyError:
            continue
    return "root root"


def _may_change_users() -> bool:
    """Tell whether CAP_CHOWN, CAP_SETGID and CAP_SETUID are all in effect."""
    needed = 1 << 0 | 1 << 6 | 1 << 7  # by their numbers in <linux/capability.h>
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16) & needed == needed
    return True
