"""
The terminal: the command's process group becomes its foreground group, if `exec` was in it.

Ctrl-C then reaches the command's group directly and only once, and a shell under `docker run -it`
has job control.  If `exec` was not in the foreground (the first half of a pipe, a background job),
it receives the keyboard's signals and forwards them, also only once.
"""

from __future__ import annotations

import os
import signal

_STDIN = 0

#: The signals by which a terminal stops a process; SIGSTOP comes from another process.
STOPS = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})


def is_there() -> bool:
    """
    Return whether stdin is the controlling terminal.
    """
    return _foreground() is not None


def is_ours() -> bool:
    """
    Return whether this process is in the terminal's foreground.
    """
    return _foreground() == os.getpgrp()


def give(group: int) -> None:
    """
    Put a process group into the foreground.  SIGTTOU must be blocked, or it stops this process.
    """
    try:
        os.tcsetpgrp(_STDIN, group)
    except OSError:  # hangup, or the group no longer exists
        return


def _foreground() -> int | None:
    try:
        return os.tcgetpgrp(_STDIN)
    except OSError:  # no terminal, or another session's terminal
        return None
