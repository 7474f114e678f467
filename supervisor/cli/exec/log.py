"""
What `exec` says: JSON lines on stderr, of the shape of `logs`, so that stdout stays the command's.

We share stderr with the command and may not make it non-blocking.  So a line is only written where
it fits: what nobody reads may hold up the command, but never the deadline.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time

_STDERR = 2

#: How long the start or the end may wait for a reader, in milliseconds.
_STDERR_TIMEOUT_MS = 200

#: What a pipe with room takes whole, and a text that leaves space for the rest of its line.
_LONGEST_LINE = 4096
_LONGEST_TEXT = 500


class StderrLog:
    """
    The one who speaks, and how many lines were lost.
    """

    def __init__(self) -> None:
        self.lost = 0

    def emit(self, event: str, level: str = "info", **fields: object) -> None:
        """Write one line; without a reader it is lost, and counted."""
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        line: dict[str, object] = {
            "time": f"{moment}.{int(now * 1000) % 1000:03d}Z",
            "level": level,
            "event": event,
        }
        for name, value in fields.items():
            if value is not None:
                line[name] = value[:_LONGEST_TEXT] if isinstance(value, str) else value
        text = json.dumps(line, default=str).encode() + b"\n"
        if sys.stderr is None or len(text) > _LONGEST_LINE or not self._write(text):
            self.lost += 1

    def _write(self, text: bytes) -> bool:
        waiting = select.poll()
        waiting.register(_STDERR, select.POLLOUT)
        try:
            return bool(waiting.poll(_STDERR_TIMEOUT_MS)) and os.write(_STDERR, text) == len(text)
        except OSError:  # closed, or whoever shares it with us has made it non-blocking
            return False
