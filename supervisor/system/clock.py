"""
The clock for deadlines.
"""

import time


def boot_clock() -> float:
    """
    Read CLOCK_BOOTTIME in seconds: monotonic, and it keeps counting while the machine is suspended.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)
