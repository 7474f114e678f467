"""
Which fault meets which request.
"""

import threading
from collections.abc import Iterator

from tests.support.nomad_faults import Fault


class Script:
    """
    Which fault meets the next request; several in a row are played one by one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._acts: list[Iterator[Fault]] = []

    def add(self, acts: Iterator[Fault]) -> None:
        """
        Append faults; an endless iterator lasts until `clear`.
        """
        with self._lock:
            self._acts.append(acts)

    def clear(self) -> None:
        """
        Forget what was not played yet.
        """
        with self._lock:
            self._acts.clear()

    def take(self) -> Fault | None:
        """
        Return the fault for this request, None for an honest answer.
        """
        with self._lock:
            while self._acts:
                fault = next(self._acts[0], None)
                if fault is not None:
                    return fault
                self._acts.pop(0)
        return None
