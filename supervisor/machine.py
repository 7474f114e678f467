"""
What this machine gives us: processors, open files, addresses, a user for nginx's workers.

nginx's own `worker_processes auto` counts the host's processors and ignores cpusets and quotas: a
hundred workers on a large host, and a blackout when each keeps one old connection over ten reloads.
"""

import fcntl
import grp
import math
import os
import pwd
import resource
import socket
from collections.abc import Iterable
from pathlib import Path

import psutil

from supervisor import cgroup

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


def local_addresses() -> tuple[str, ...]:
    """
    Return the addresses of this machine, or of the container, as text and without zones.
    """
    try:
        found = psutil.net_if_addrs()
    except OSError:
        return ()  # what is told about us by Nomad's variables still counts
    families = {socket.AF_INET, socket.AF_INET6}
    every = (entry for entries in found.values() for entry in entries)
    return tuple(
        sorted({entry.address.partition("%")[0] for entry in every if entry.family in families})
    )


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


def runtime_folder(candidates: Iterable[str]) -> tuple[Path | None, list[str]]:
    """
    Make the first of the folders that can be ours and written to; else None, and why not each.
    """
    troubles = []
    mode = 0o711 if os.geteuid() == 0 else 0o700
    for candidate in candidates:
        folder = Path(candidate)
        if len(str(folder)) > 85:  # a socket's path has 107 bytes at most
            troubles.append(f"{folder}: too long for a socket in it")
            continue
        try:
            _make(folder, mode)
            probe = folder / ".writable"
            probe.unlink(missing_ok=True)
            probe.touch(exist_ok=False)  # anew, or it would be written through a planted link
            probe.unlink()
        except OSError as error:
            troubles.append(f"{folder}: {error.strerror}")
            continue
        return folder, []
    return None, troubles


def _make(folder: Path, mode: int) -> None:
    for parent in (folder.parent, folder):
        if not parent.is_dir():
            parent.mkdir(parents=True, exist_ok=True)
            parent.chmod(mode)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        # Somebody else's folder in a shared place is a trap; a mount made for us is not.
        if folder.is_symlink() or (folder.stat().st_mode & 0o1000 and not _is_for_us(folder)):
            raise PermissionError(1, "belongs to somebody else")
        return
    folder.chmod(mode)


def _is_for_us(folder: Path) -> bool:
    """Tell a tmpfs that an engine mounted, root's and open to all, from a /tmp that others use."""
    return folder.is_mount() and all(
        entry.lstat().st_uid == os.geteuid() for entry in folder.iterdir()
    )


def lock(folder: Path) -> int | None:
    """
    Claim a runtime folder for this process; None when another supervisor uses it.
    """
    descriptor = os.open(
        folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
