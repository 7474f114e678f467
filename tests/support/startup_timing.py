"""
Timing at the start of a program: when it handles stop signals.
"""

import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import eventually


def blocks_stop_signals(pid: int) -> bool:
    """
    Whether a process has run the program's first instruction, which blocks the stop signals.

    Before it the kernel discards them for a PID 1; a program cannot prevent that.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigBlk:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def pause(seconds: float) -> None:
    """
    Wait this number of seconds, as exactly as possible.
    """
    end = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= end, seconds + 10, 0.0002)
