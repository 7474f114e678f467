"""
What the control groups around us grant: processors, processes and memory, of either version.

A container sees its own group as the root of the tree.  Elsewhere (raw_exec) our place in the tree
is in /proc/self/cgroup, and every group on the way up may be the one that is full.
"""

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def processors(root: Path = ROOT) -> float:
    """
    Return how many processors may be used, as a quota; infinite where nothing bounds it.
    """
    least = math.inf
    for group in _groups(root, "cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):
            limit, period = (group / "cpu.max").read_text().split()
            least = min(least, math.inf if limit == "max" else int(limit) / int(period))
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota = int((group / "cpu.cfs_quota_us").read_text())
            period_us = int((group / "cpu.cfs_period_us").read_text())
            least = min(least, quota / period_us if quota > 0 else math.inf)
    return least


def processes(root: Path = ROOT) -> float:
    """
    Return how many processes may still be started; infinite where nothing bounds it.
    """
    least = math.inf
    for group in _groups(root, "pids"):
        with suppress(OSError, ValueError):
            limit = (group / "pids.max").read_text().strip()
            current = int((group / "pids.current").read_text())
            least = min(least, math.inf if limit == "max" else max(0, int(limit) - current))
    return least


def memory(root: Path = ROOT) -> float:
    """
    Return how many bytes of memory the group may hold; infinite where nothing bounds it.
    """
    least = math.inf
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                limit = (group / name).read_text().strip()
                least = min(least, math.inf if limit == "max" else int(limit))
    return least


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield our group and those above it: in the one tree, and in this controller's own."""
    places = _places()
    for tree, own in (
        (root, places.get("", "/")),
        (root / controller, places.get(controller, "/")),
    ):
        group = tree / own.lstrip("/")
        yield from (group, *(above for above in group.parents if above.is_relative_to(tree)))


def _places() -> dict[str, str]:
    """Return our place in the tree of each controller; the tree of all has no name."""
    found = {}
    with suppress(OSError, ValueError):
        for line in _OWN.read_text().splitlines():
            _, names, place = line.split(":", 2)
            found.update(dict.fromkeys(names.split(","), place))
    return found
