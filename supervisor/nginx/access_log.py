"""
The access log: follows the file that nginx writes, and makes each request a line of our log.

nginx stalls as soon as it writes into a pipe that nobody empties, and with it every request it
handles.  A write to a file waits for nobody.  What has been read is given back to the file system
at once, so that the file, on a memory disk usually, never holds more than what is new; where that
is not possible the file is emptied.  Who cannot keep up skips: memory is worth more than lines.
"""

import ctypes
import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from supervisor.core.durations import format_moment

#: The name in RUNTIME_DIR; the configuration says the same.
NAME = "access.log"

#: nginx writes what it has gathered once a second; so often the file is looked at, in seconds.
_EVERY = 0.5
_CHUNK = 1 << 18

#: More than this is not caught up with, in bytes.
_MOST_BEHIND = 32 << 20
_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02  # of <linux/falloc.h>
_LIBC = ctypes.CDLL(None)
_FALLOCATE = getattr(_LIBC, "fallocate64", _LIBC.fallocate)  # musl has only the latter, of 64 bits

Tell = Callable[[str, Mapping[str, Any]], None]


class AccessLog:
    """
    A thread that reads what nginx appends; `tell` is given a moment and the fields of a request.
    """

    def __init__(self, folder: Path, tell: Tell, complain: Callable[..., None]) -> None:
        self._path = folder / NAME
        self._tell = tell
        self._complain = complain
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._file = -1
        self._read_to = 0
        self._rest = b""
        self._unreadable = 0

    def start(self) -> None:
        """Begin to follow; a file that an earlier process left is none of ours."""
        self._path.unlink(missing_ok=True)
        self._thread.start()

    def finish(self, within: float) -> None:
        """Read what nginx wrote at last, waiting at most `within` seconds."""
        if self._thread.is_alive():
            self._over.set()
            self._thread.join(within)

    def _run(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._over.wait(_EVERY)
            with suppress(OSError):  # a folder that is gone is told by those who write there
                self._follow()

    def _follow(self) -> None:
        """Read all that is new, from the file that has the name now."""
        if self._file >= 0:
            self._catch_up()
        if self._file < 0 or not self._is_the_same():
            self._open()
            self._catch_up()
        if self._unreadable:
            self._complain("access.unreadable", "warning", lines=self._unreadable)
            self._unreadable = 0

    def _is_the_same(self) -> bool:
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return True  # until there is another
        held = os.fstat(self._file)
        return (named.st_ino, named.st_dev) == (held.st_ino, held.st_dev)

    def _open(self) -> None:
        fresh = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._read_to, self._rest = fresh, 0, b""

    def _catch_up(self) -> None:
        behind = os.fstat(self._file).st_size - self._read_to
        if behind > _MOST_BEHIND:
            self._complain("access.skipped", "warning", bytes=behind)
            self._read_to, self._rest = self._read_to + behind, b""
        while chunk := os.pread(self._file, _CHUNK, self._read_to):
            self._read_to += len(chunk)
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._pass_on(line)
            self._give_back()

    def _give_back(self) -> None:
        """Free what has been read; what is appended meanwhile stays."""
        if _punch(self._file, self._read_to):
            return
        if os.fstat(self._file).st_size == self._read_to:
            os.ftruncate(self._file, 0)
            self._read_to = 0

    def _pass_on(self, line: bytes) -> None:
        try:
            found = json.loads(line.decode(errors="replace"))
            moment = format_moment(float(found.pop("at")))
            fields = {name: value for name, value in found.items() if value != ""}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError):
            self._unreadable += 1  # cut short when the disk was full, or a worker was killed
            return
        self._tell(moment, fields)


def _punch(descriptor: int, length: int) -> bool:
    """Free the beginning of a file, and tell whether this file system can."""
    sizes = (ctypes.c_int64(0), ctypes.c_int64(length))
    return bool(_FALLOCATE(descriptor, _KEEP_SIZE_PUNCH_HOLE, *sizes) == 0)
