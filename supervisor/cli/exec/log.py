"""
The log of `exec`: JSON lines on stderr, in the supervisor's format; stdout is the command's.

`exec` shares stderr with the command and must not make it non-blocking.  So a line is written only
if it fits: a stderr that is not read may block the command, but never the deadline.
"""

from __future__ import annotations

import json
import os
import select
import time

_STDERR = 2

#: How long one line may wait for a reader, in milliseconds.
_STDERR_TIMEOUT_MS = 200

#: What a writable pipe takes at once, and the longest text of one field, in bytes and characters.
_MAX_LINE = 4096
_MAX_TEXT = 500


class StderrLog:
    """
    A log on stderr; `dropped` counts the lines that could not be written.
    """

    def __init__(self) -> None:
        self.dropped = 0

    def emit(self, event: str, level: str = "info", **fields: object) -> None:
        """Write one line; without a reader it is dropped and counted."""
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        line: dict[str, object] = {
            "time": f"{moment}.{int(now * 1000) % 1000:03d}Z",
            "level": level,
            "event": event,
        }
        for name, value in fields.items():
            if value is not None:
                line[name] = value[:_MAX_TEXT] if isinstance(value, str) else value
        text = json.dumps(line, default=str).encode() + b"\n"
        if len(text) > _MAX_LINE or not self._write(text):
            self.dropped += 1

    def _write(self, text: bytes) -> bool:
        poll = select.poll()
        poll.register(_STDERR, select.POLLOUT)
        try:
            return bool(poll.poll(_STDERR_TIMEOUT_MS)) and os.write(_STDERR, text) == len(text)
        except OSError:  # closed, or made non-blocking by another process
            return False
