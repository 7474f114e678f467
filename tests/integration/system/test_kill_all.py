"""
The last step of a run: whatever still lives is killed, with its group.
"""

import os
import re
from pathlib import Path

from supervisor.core.model import ChildKind
from supervisor.system.process import Children
from tests.support.waiting import eventually


def test_a_child_that_nobody_waits_for_any_more_is_killed_with_its_group(tmp_path: Path) -> None:
    """
    A child that was started just as the end came, and what it started itself, do not outlive us.
    """
    children, output = Children(), os.open(tmp_path / "said", os.O_RDWR | os.O_CREAT)
    words = ["/bin/sh", "-c", "sleep 60 & echo $!; wait"]
    pid = children.spawn(ChildKind.CHECK, words, output)
    grandchild = int(eventually(lambda: os.pread(output, 99, 0)))
    os.close(output)

    children.kill_all()

    (ended,) = eventually(lambda: [each for each in children.reap() if each.pid == pid])
    assert 128 + 9 == ended.code
    eventually(lambda: not lives(grandchild))


def lives(pid: int) -> bool:
    """
    Whether a process is there and no mere entry that nobody has buried yet.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    return not re.search(r"^State:\s+Z", status, re.MULTILINE)
