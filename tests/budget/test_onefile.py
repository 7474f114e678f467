"""
What it costs to stand beside every replica.
"""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest

from tests.support.footprint import memory_of
from tools import onefile

pytestmark = pytest.mark.budget

_TURNS = 7

#: Megabytes above an interpreter that does nothing, and how many times its start.
_SHARE = 6.0
_RATIO = 9.0

_IDLE = ("-c", "print(flush=True); import time; time.sleep(60)")
_REPLICA = ("sh", "-c", "echo; exec sleep 60")


def test_the_wrapper_is_a_few_megabytes(tmp_path: Path) -> None:
    """
    Above a bare interpreter it holds at most 6 MB, and the command is there after at most nine
    times that one's start; measured in turns.
    """
    file = onefile.make(tmp_path / "autoexit.pyz")
    idle, ours = [], []
    for _ in range(_TURNS):
        idle.append(started(sys.executable, "-I", *_IDLE))
        ours.append(started(sys.executable, "-I", str(file), *_REPLICA))

    assert median(rss for _, rss in ours) - median(rss for _, rss in idle) <= _SHARE
    assert median(a / b for (a, _), (b, _) in zip(ours, idle, strict=True)) <= _RATIO


def started(*words: str) -> tuple[float, float]:
    """
    Return after how many seconds the first line came, and the megabytes held by then.
    """
    began = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        took = time.perf_counter() - began
        memory = memory_of(process.pid).rss
        process.terminate()
    return took, memory
