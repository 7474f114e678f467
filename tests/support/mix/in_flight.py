"""
The requests that a replica is executing, in a file mapped by both sides, which outlives it.

After a kill the file contains the requests that were begun and not ended.
"""

import mmap
import struct
from pathlib import Path

_SLOT = struct.Struct("<Q")
_SLOTS = 512


class InFlight:
    """
    The numbers of the requests in flight; a number is never 0.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SLOT.size * _SLOTS)
        self._free = list(range(_SLOTS))

    def begin(self, number: int) -> int:
        """
        Record that a request arrived, and return its slot.
        """
        slot = self._free.pop()
        _SLOT.pack_into(self._map, _SLOT.size * slot, number)
        return slot

    def end(self, slot: int) -> None:
        """
        Record that the kernel has the complete response.
        """
        _SLOT.pack_into(self._map, _SLOT.size * slot, 0)
        self._free.append(slot)


def prepare(path: Path) -> None:
    """
    Create the file before it is mapped.
    """
    path.write_bytes(bytes(_SLOT.size * _SLOTS))


def in_flight(path: Path) -> frozenset[int]:
    """
    Return the numbers of the requests begun and not ended.
    """
    return frozenset(number for (number,) in _SLOT.iter_unpack(path.read_bytes()) if number)
