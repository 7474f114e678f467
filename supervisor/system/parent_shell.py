"""
A shell that is PID 1 and our parent: `sh -c "autoexit-nginx; ..."` as the command of a container.

A container engine sends its stop signal to PID 1 only.  A shell there has no handler for it, so the
kernel drops the signal, and after its time limit the engine kills everything.
"""

import os
from pathlib import Path

_SHELLS = frozenset({"ash", "bash", "busybox", "dash", "ksh", "sh", "zsh"})


def shell_around() -> str:
    """
    Return the name of the shell that is PID 1 and started this process, empty if there is none.
    """
    if os.getppid() != 1:
        return ""
    try:
        name = Path("/proc/1/comm").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return name if name in _SHELLS else ""
