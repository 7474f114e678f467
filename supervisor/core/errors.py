"""
Exceptions raised before the loop runs, and the exit codes that callers rely on.

Once the loop runs, an expected error is an event and not an exception: see `core/events.py`.
Every text begins "cannot …", carries the value, and names what happens next.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """
    The documented exit codes; any other non-zero code is nginx's own, or 128 + its signal.
    """

    OK = 0
    USAGE = 64
    UNAVAILABLE = 69
    SOFTWARE = 70
    CONFIG = 78
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127


def shell_exit_code(code: int) -> int:
    """
    Convert Python's exit code -n of a process killed by signal n to the shell's 128 + n.
    """
    return 128 - code if code < 0 else code


class Problem(Exception):
    """
    The program cannot start; carries the exit code and one line per error.
    """

    def __init__(self, code: ExitCode, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.code = code
        self.lines = lines


class FolderInUse(Problem):
    """
    A folder belongs to another supervisor that runs: nothing may be written there.
    """

    def __init__(self, folder: object) -> None:
        reason = "another autoexit-nginx uses it"
        super().__init__(ExitCode.CONFIG, f"cannot use {folder}: {reason}; giving up")


class ExecutableMissing(Exception):
    """
    A program to start does not exist or is not executable.
    """

    def __init__(self, path: str, *, found: bool, hint: str = "") -> None:
        error = "is not executable" if found else "does not exist"
        step = f"{hint}; " if hint else ""
        super().__init__(f"cannot start {path!r}: it {error}; {step}giving up")
        self.code = ExitCode.NOT_EXECUTABLE if found else ExitCode.NOT_FOUND
