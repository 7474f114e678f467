"""
Limits of this process's control groups, of version 1 or 2: processors, processes and memory.

A container sees its own group as the root of the tree.  Elsewhere (raw_exec) the path of the group
is in /proc/self/cgroup, and any of its parents may have the lowest limit.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def processors(root: Path = ROOT) -> float:
    """
    Return the CPU quota in processors; infinite without a limit.
    """
    lowest = math.inf
    for group in _groups(root, "cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):
            limit, period = (group / "cpu.max").read_text().split()
            lowest = min(lowest, math.inf if limit == "max" else int(limit) / int(period))
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota = int((group / "cpu.cfs_quota_us").read_text())
            period_us = int((group / "cpu.cfs_period_us").read_text())
            lowest = min(lowest, quota / period_us if quota > 0 else math.inf)
    return lowest


def processes(root: Path = ROOT) -> float:
    """
    Return how many more processes can be started; infinite without a limit.
    """
    lowest = math.inf
    for group in _groups(root, "pids"):
        with suppress(OSError, ValueError):
            limit = (group / "pids.max").read_text().strip()
            current = int((group / "pids.current").read_text())
            lowest = min(lowest, math.inf if limit == "max" else max(0, int(limit) - current))
    return lowest


def memory(root: Path = ROOT) -> float:
    """
    Return the memory limit in bytes; infinite without a limit.
    """
    lowest = math.inf
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                limit = (group / name).read_text().strip()
                lowest = min(lowest, math.inf if limit == "max" else int(limit))
    return lowest


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield our group and its parents, in the unified tree and in the controller's own."""
    paths = _group_paths()
    for tree, own in (
        (root, paths.get("", "/")),
        (root / controller, paths.get(controller, "/")),
    ):
        group = tree / own.lstrip("/")
        yield from (group, *(parent for parent in group.parents if parent.is_relative_to(tree)))


def _group_paths() -> dict[str, str]:
    """Return the path of our group by controller; the unified tree has an empty name."""
    found = {}
    with suppress(OSError, ValueError):
        for line in _OWN_GROUPS.read_text().splitlines():
            _, names, path = line.split(":", 2)
            found.update(dict.fromkeys(names.split(","), path))
    return found
