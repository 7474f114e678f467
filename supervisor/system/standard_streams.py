"""
Descriptors 0 to 2, open from the first instruction on.

If the parent closed one of them, the next file that is opened would take its number: log lines
would be written into the lock file, for example.  This module also ships to the images of replicas:
standard library only, Python 3.9.
"""

from __future__ import annotations

import os
import sys

_LAST = 2


def open_missing() -> None:
    """
    Open /dev/null in place of each standard stream that is closed.
    """
    opened = os.open(os.devnull, os.O_RDWR)
    while opened <= _LAST:
        os.set_inheritable(opened, True)
        opened = os.open(os.devnull, os.O_RDWR)
    os.close(opened)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for the whole run
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - the same
