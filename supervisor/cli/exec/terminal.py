"""
The terminal belongs to the command, if it was ours to give.

Then Ctrl-C goes from the keyboard to the command's group, once and not through us, and a shell
under `docker run -it` has its job control.  Where we were not in the foreground (a pipe's first
half, a background job), the keyboard's signals reach us, and the command through us, once as well.
"""

from __future__ import annotations

import os
import signal

_STDIN = 0

#: What a terminal stops a process with; SIGSTOP is somebody's own will.
STOPS = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})


def is_there() -> bool:
    """
    Tell whether stdin is a terminal that controls us.
    """
    return _foreground() is not None


def is_ours() -> bool:
    """
    Tell whether we are in its foreground.
    """
    return _foreground() == os.getpgrp()


def give(group: int) -> None:
    """
    Put a process group into the foreground.  SIGTTOU is blocked here, or this would stop us.
    """
    try:
        os.tcsetpgrp(_STDIN, group)
    except OSError:  # hung up, or the group has gone
        return


def _foreground() -> int | None:
    try:
        return os.tcgetpgrp(_STDIN)
    except OSError:  # no terminal, or that of another session
        return None
