"""
What a replica is executing, in memory that outlives it: a file mapped by both sides.

A killed process says nothing any more; what it had begun and not ended is what it took with it.
"""

import mmap
import struct
from pathlib import Path

_SLOT = struct.Struct("<Q")
_SLOTS = 512


class Flight:
    """
    The numbers of the requests under way; a number is never 0.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SLOT.size * _SLOTS)
        self._free = list(range(_SLOTS))

    def begin(self, number: int) -> int:
        """
        Note that a request arrived, and return its place.
        """
        place = self._free.pop()
        _SLOT.pack_into(self._map, _SLOT.size * place, number)
        return place

    def end(self, place: int) -> None:
        """
        Note that all of its answer is with the kernel.
        """
        _SLOT.pack_into(self._map, _SLOT.size * place, 0)
        self._free.append(place)


def prepare(path: Path) -> None:
    """
    Make the file, before anybody maps it.
    """
    path.write_bytes(bytes(_SLOT.size * _SLOTS))


def in_flight(path: Path) -> frozenset[int]:
    """
    Return the numbers of what has begun and not ended.
    """
    return frozenset(number for (number,) in _SLOT.iter_unpack(path.read_bytes()) if number)
