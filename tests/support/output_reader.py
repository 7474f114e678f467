"""
What a process says, read while it runs, so that a full pipe never holds it up.
"""

import json
import os
import threading
import time
from typing import Any

Line = dict[str, Any]


class OutputReader:
    """
    Reads one descriptor to its end; JSON objects are records, the rest is plain.
    """

    def __init__(self, descriptor: int) -> None:
        self.records: list[Line] = []
        self.plain: list[str] = []
        self.times: list[float] = []
        self._descriptor = descriptor
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """
        Whether everyone who could write has gone.
        """
        return not self._thread.is_alive()

    @property
    def lines(self) -> list[str]:
        """
        All of it as text, the plain lines first.
        """
        return [*self.plain, *(json.dumps(record) for record in list(self.records))]

    def take_records(self) -> list[Line]:
        """
        Hand over the records so far and keep none, so that a day of them needs no room.
        """
        found = list(self.records)
        del self.records[: len(found)], self.times[: len(found)]
        return found

    def join(self, within: float) -> None:
        """
        Wait for the end.
        """
        self._thread.join(within)

    def _read(self) -> None:
        rest = b""
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:  # a terminal whose last user left
                data = b""
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._note(line)
        if rest:
            self._note(rest)
        os.close(self._descriptor)

    def _note(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        try:
            record = json.loads(text)
        except ValueError:
            record = None
        if isinstance(record, dict):
            self.times.append(time.monotonic())
            self.records.append(record)
        elif text:
            self.plain.append(text)
