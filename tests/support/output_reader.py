"""
The output of a process, read while it runs, so that a full pipe never blocks it.
"""

import json
import os
import threading
import time
from typing import Any

Line = dict[str, Any]


class OutputReader:
    """
    Reads one descriptor to its end; JSON objects become records, other lines are plain.
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
        Whether all writers have closed the descriptor.
        """
        return not self._thread.is_alive()

    @property
    def lines(self) -> list[str]:
        """
        All output as text, the plain lines first.
        """
        return [*self.plain, *(json.dumps(record) for record in list(self.records))]

    def take_records(self) -> list[Line]:
        """
        Return the records so far and drop them, to bound the memory of a long run.
        """
        found = list(self.records)
        del self.records[: len(found)], self.times[: len(found)]
        return found

    def join(self, within: float) -> None:
        """
        Wait for the end of the output.
        """
        self._thread.join(within)

    def _read(self) -> None:
        rest = b""
        while True:
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:  # a terminal without open users
                data = b""
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._add(line)
        if rest:
            self._add(rest)
        os.close(self._descriptor)

    def _add(self, line: bytes) -> None:
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
