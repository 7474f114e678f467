"""
A script that uses up the memory of a control group; its argument is the group's folder.

It allocates memory until the kernel has killed a process of the group, then exits.
"""

import sys
import time
from pathlib import Path

_CHUNK = 1 << 16


def _number(folder: Path, *names: str) -> int:
    """Return the number in the first existing file, the one after `oom_kill` if present."""
    (path,) = [folder / name for name in names if (folder / name).exists()][:1]
    words = path.read_text().split()
    return int(words[words.index("oom_kill") + 1] if "oom_kill" in words else words[0])


def _fill(folder: Path) -> None:
    allocated = []
    killed = _number(folder, "memory.events", "memory.oom_control")
    while killed == _number(folder, "memory.events", "memory.oom_control"):
        allocated.append(b"x" * _CHUNK)
        time.sleep(0.0002)


if __name__ == "__main__":
    Path(sys.argv[1], "cgroup.procs").write_text("0")
    _fill(Path(sys.argv[1]))
