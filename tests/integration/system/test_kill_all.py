"""
The last step of a run: all running children are killed with their groups.
"""

import os
import re
from pathlib import Path

from supervisor.core.model import ChildKind
from supervisor.system.process import Children
from tests.support.waiting import eventually


def test_a_remaining_child_is_killed_with_its_group(tmp_path: Path) -> None:
    """
    A child that was started during the shutdown, and its own children, do not outlive the program.
    """
    children, output = Children(), os.open(tmp_path / "output", os.O_RDWR | os.O_CREAT)
    command = ["/bin/sh", "-c", "sleep 60 & echo $!; wait"]
    pid = children.spawn(ChildKind.CHECK, command, output)
    grandchild = int(eventually(lambda: os.pread(output, 99, 0)))
    os.close(output)

    children.kill_all()

    (ended,) = eventually(lambda: [each for each in children.reap() if each.pid == pid])
    assert 128 + 9 == ended.code
    eventually(lambda: not is_running(grandchild))


def is_running(pid: int) -> bool:
    """
    Return whether a process exists and is not a zombie.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    return not re.search(r"^State:\s+Z", status, re.MULTILINE)
