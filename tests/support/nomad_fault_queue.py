"""
The faults of the fake Nomad that are still to be played.
"""

import threading
from collections.abc import Iterator

from tests.support.nomad_faults import Fault


class FaultQueue:
    """
    The faults of the next requests, one per request, in order.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Iterator[Fault]] = []

    def add(self, faults: Iterator[Fault]) -> None:
        """
        Append faults; an endless iterator lasts until `clear`.
        """
        with self._lock:
            self._faults.append(faults)

    def clear(self) -> None:
        """
        Remove all remaining faults.
        """
        with self._lock:
            self._faults.clear()

    def take(self) -> Fault | None:
        """
        Return the fault for this request, None for a correct response.
        """
        with self._lock:
            while self._faults:
                fault = next(self._faults[0], None)
                if fault is not None:
                    return fault
                self._faults.pop(0)
        return None
