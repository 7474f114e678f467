"""
The first moments of a program: from when on it can be told to stop.
"""

import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import eventually


def blocks_stop_signals(pid: int) -> bool:
    """
    Whether a process has come to its first instruction of ours, which blocks the stop signals.

    Before it the kernel discards them for a PID 1: nobody can do anything about that.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigBlk:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def pause(seconds: float) -> None:
    """
    Let that much time pass, as exactly as can be.
    """
    end = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= end, seconds + 10, 0.0002)
