"""
The cost of `exec` as one file in front of every replica.
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

_ROUNDS = 7

#: Megabytes above an idle interpreter, and the factor of its start time.
_MEMORY = 6.0
_RATIO = 9.0

_IDLE = ("-c", "print(flush=True); import time; time.sleep(60)")
_REPLICA = ("sh", "-c", "echo; exec sleep 60")


def test_exec_needs_a_few_megabytes(tmp_path: Path) -> None:
    """
    It uses at most 6 MB more than an idle interpreter, and starts the command within nine times its
    start time; measured alternately.
    """
    file = onefile.make(tmp_path / "autoexit.pyz")
    idle, ours = [], []
    for _ in range(_ROUNDS):
        idle.append(started(sys.executable, "-I", *_IDLE))
        ours.append(started(sys.executable, "-I", str(file), *_REPLICA))

    assert median(rss for _, rss in ours) - median(rss for _, rss in idle) <= _MEMORY
    assert median(a / b for (a, _), (b, _) in zip(ours, idle, strict=True)) <= _RATIO


def started(*words: str) -> tuple[float, float]:
    """
    Return the seconds until the first line, and the memory in megabytes at that time.
    """
    began = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        took = time.perf_counter() - began
        memory = memory_of(process.pid).rss
        process.terminate()
    return took, memory
