"""
The host's limits for nginx: processors, open files, listen addresses, a user for its workers.

nginx's own `worker_processes auto` counts the host's processors and ignores cpusets and quotas.  On
a large host it starts a hundred workers; if each keeps one old connection over ten reloads, nginx
runs out of processes and stops serving.
"""

import errno
import grp
import math
import os
import pwd
import resource
import socket
from collections.abc import Iterable
from pathlib import Path

from supervisor.system import cgroup

_MAX_WORKERS = 8

#: Our own threads that start later than the workers are counted.
_LATER_THREADS = 8
_MAX_OPEN_FILES = 65536
_MAX_CONNECTIONS = 8192


def worker_count(root: Path = cgroup.ROOT) -> int:
    """
    Return the number of workers for this process's processors and CPU quota, at most 8.
    """
    granted = min(_MAX_WORKERS, len(os.sched_getaffinity(0)), cgroup.processors(root))
    return max(1, math.ceil(granted))


def fitting_workers(workers: int, room: float) -> int:
    """
    Return how many of these workers may run, if `room` more processes and threads can be started.

    During a reload there are two sets of them, the master, and `nginx -t`.
    """
    return max(1, int(min(workers, (room - _LATER_THREADS - 2) / 2)))


def open_files() -> tuple[int, int]:
    """
    Return the open files and the connections per worker, within the hard limit of open files.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    return files, max(16, min(_MAX_CONNECTIONS, files // 2))


def listen_directives(addresses: Iterable[str], port: int) -> tuple[str, ...]:
    """
    Return the arguments of nginx's `listen`; without addresses all of IPv4, and IPv6 if available.
    """
    given = [
        f"[{address}]:{port}" if ":" in address else f"{address}:{port}" for address in addresses
    ]
    if not given:
        given = [f"0.0.0.0:{port}"] + ([f"[::]:{port}"] if _has_ipv6() else [])
    return tuple(f"{each} ipv6only=on" if each.startswith("[") else each for each in given)


def listen_address(argument: str) -> tuple[str, int]:
    """
    Return the host, without brackets, and the port of an argument of `listen`.
    """
    host, _, port = argument.partition(" ")[0].rpartition(":")
    return host.strip("[]"), int(port)


def busy_address(listen: Iterable[str]) -> str:
    """
    Return the first of these arguments of `listen` that another process listens on, or "".
    """
    for argument in listen:
        host, port = listen_address(argument)
        is_v6 = ":" in host
        family = socket.AF_INET6 if is_v6 else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as nginx does
                if is_v6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return argument.partition(" ")[0]
    return ""


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def worker_user() -> str:
    """
    Return `user group` for nginx's workers under root, or an empty string: they keep our user.

    A root without capabilities cannot change its user: its workers would exit before they serve, so
    they stay root, which without capabilities has few privileges.
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
    """Return whether CAP_CHOWN, CAP_SETGID and CAP_SETUID are all in effect."""
    needed = 1 << 0 | 1 << 6 | 1 << 7  # their numbers in <linux/capability.h>
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16) & needed == needed
    return True
