"""
The access log: follows the file that nginx writes and logs each request as one line.

nginx stalls, with every request it handles, when it writes to a full pipe; a write to a file never
blocks.  Bytes that were read are released to the file system at once (a hole is punched), so that
the file, usually on a memory disk, holds only new lines; a file system without holes has the file
truncated.  When the reader falls too far behind, it skips: memory is worth more than lines.
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

#: Name of the file in RUNTIME_DIR, as in `nginx.conf.j2`.
NAME = "access.log"

#: Seconds between two reads; nginx flushes its buffer once a second.
_READ_INTERVAL = 0.5
_CHUNK = 1 << 18

#: Lines are skipped when more than this is unread, in bytes.
_MAX_UNREAD = 32 << 20
_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02  # of <linux/falloc.h>
_LIBC = ctypes.CDLL(None)
_FALLOCATE = getattr(_LIBC, "fallocate64", _LIBC.fallocate)  # musl has only the latter, of 64 bits

RecordRequest = Callable[[str, Mapping[str, Any]], None]


class AccessLog:
    """
    A thread that reads the lines nginx appends and calls `record(time, fields)` for each request.
    """

    def __init__(self, folder: Path, record: RecordRequest, log: Callable[..., None]) -> None:
        self._path = folder / NAME
        self._record = record
        self._log = log
        self._finishing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._file = -1
        self._position = 0
        self._partial_line = b""
        self._unreadable = 0

    def start(self) -> None:
        """Remove the file of an earlier process and start to follow."""
        self._path.unlink(missing_ok=True)
        self._thread.start()

    def finish(self, within: float) -> None:
        """Read the last lines, waiting at most `within` seconds."""
        if self._thread.is_alive():
            self._finishing.set()
            self._thread.join(within)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._finishing.wait(_READ_INTERVAL)
            with suppress(OSError):  # a missing folder is reported by the code that writes there
                self._follow()

    def _follow(self) -> None:
        """Read all new lines; when nginx has reopened its log, continue with the new file."""
        if self._file >= 0:
            self._read_new()
        if self._file < 0 or not self._is_current():
            self._open()
            self._read_new()
        if self._unreadable:
            self._log("access.unreadable", "warning", lines=self._unreadable)
            self._unreadable = 0

    def _is_current(self) -> bool:
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return True  # deleted: nginx still writes to the open file
        held = os.fstat(self._file)
        return (named.st_ino, named.st_dev) == (held.st_ino, held.st_dev)

    def _open(self) -> None:
        file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._position, self._partial_line = file, 0, b""

    def _read_new(self) -> None:
        unread = os.fstat(self._file).st_size - self._position
        if unread > _MAX_UNREAD:
            self._log("access.skipped", "warning", bytes=unread)
            self._position, self._partial_line = self._position + unread, b""
        while chunk := os.pread(self._file, _CHUNK, self._position):
            self._position += len(chunk)
            *lines, self._partial_line = (self._partial_line + chunk).split(b"\n")
            for line in lines:
                self._record_line(line)
            self._release()

    def _release(self) -> None:
        """Free the bytes that were read, without losing what nginx appends meanwhile."""
        if _punch_hole(self._file, self._position):
            return
        if os.fstat(self._file).st_size == self._position:
            os.ftruncate(self._file, 0)
            self._position = 0

    def _record_line(self, line: bytes) -> None:
        try:
            found = json.loads(line.decode(errors="replace"))
            moment = format_moment(float(found.pop("at")))
            fields = {name: value for name, value in found.items() if value != ""}
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError):
            self._unreadable += 1  # truncated: the disk was full, or a worker was killed
            return
        self._record(moment, fields)


def _punch_hole(descriptor: int, length: int) -> bool:
    """Free the first `length` bytes of a file; return False where the file system cannot."""
    sizes = (ctypes.c_int64(0), ctypes.c_int64(length))
    return bool(_FALLOCATE(descriptor, _KEEP_SIZE_PUNCH_HOLE, *sizes) == 0)
