"""
A process that uses up the memory of a control group: run by its path with the group's folder.

It takes what there is until the kernel had to end somebody, and goes.
"""

import sys
import time
from pathlib import Path

_PIECE = 1 << 16


def _number(folder: Path, *names: str) -> int:
    """Return the number in the first of these files that exists, after `oom_kill` if it is in."""
    (path,) = [folder / name for name in names if (folder / name).exists()][:1]
    words = path.read_text().split()
    return int(words[words.index("oom_kill") + 1] if "oom_kill" in words else words[0])


def _fill(folder: Path) -> None:
    held = []
    dead = _number(folder, "memory.events", "memory.oom_control")
    while dead == _number(folder, "memory.events", "memory.oom_control"):
        held.append(b"x" * _PIECE)
        time.sleep(0.0002)


if __name__ == "__main__":
    Path(sys.argv[1], "cgroup.procs").write_text("0")
    _fill(Path(sys.argv[1]))
