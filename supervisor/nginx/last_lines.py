"""
The last lines that nginx wrote, and which of them give the reason why a process of it ended.

nginx logs mostly about requests, and a refused connection to a replica long ago explains no death.
"""

import re
from collections import deque
from typing import NamedTuple

#: How long before the exit a line of unknown origin may have been read, in seconds.
_WINDOW = 3.0

_MAX_LINES = 16

#: About one request: the number of its connection, and for an old nginx only the client.
_OF_A_REQUEST = re.compile(r"\*[0-9]+ |.*, client: ", re.DOTALL)

#: The end of a worker, which the master replaces; unless it cannot.
_OF_A_WORKER = re.compile(r"worker process [0-9]+ exited (?!.*cannot be respawned)")

#: nginx's last line when a port is in use; the line before it names the port.
_UNINFORMATIVE = frozenset({"still could not bind()"})

_ERRORS = frozenset({"emerg", "alert", "crit", "error"})


class _Line(NamedTuple):
    at: float
    pid: int | None
    level: str | None
    text: str


class LastLines:
    """
    The last lines that may explain an exit.
    """

    def __init__(self, window: float) -> None:
        """Lines of the process itself count if they are at most `window` seconds old."""
        self._window = window
        self._lines: deque[_Line] = deque(maxlen=_MAX_LINES)

    def add(self, at: float, pid: int | None, level: str | None, text: str) -> None:
        """
        Add a line read at `at` and the process that wrote it.  Process and level are None if the
        line does not have nginx's format, such as the message of a C library that aborts.
        """
        about_others = _OF_A_REQUEST.match(text) or _OF_A_WORKER.match(text)
        if text and not about_others and text not in _UNINFORMATIVE:
            self._lines.append(_Line(at, pid, level, text))

    def take_reason(self, pid: int, now: float) -> str:
        """
        Return the line that explains the exit of this process, or "", and forget all lines.

        That is the last error that it logged itself, or else the last line of unknown origin.
        """
        own = [
            line.text
            for line in self._lines
            if line.pid == pid and line.level in _ERRORS and now <= line.at + self._window
        ]
        unknown = [
            line.text for line in self._lines if line.pid is None and now <= line.at + _WINDOW
        ]
        self._lines.clear()
        return (own or unknown or [""])[-1]
