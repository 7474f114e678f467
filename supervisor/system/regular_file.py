"""
Reading a file that may have been replaced by a FIFO, a device, or something endless.

This module also ships to the images of replicas: standard library only, Python 3.9.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path  # not at run time: it imports urllib and ipaddress


def read_regular(path: Path | str, limit: int, *, follow: bool = False) -> bytes:
    """
    Return the content of a regular file of at most `limit` bytes; `follow` permits links.

    Raises OSError for anything else, and never waits for a writer of a FIFO.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    descriptor = os.open(path, flags | (0 if follow else os.O_NOFOLLOW))
    try:
        found = os.fstat(descriptor)
        mode = found.st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = bytearray()
        piece = min(max(found.st_size + 1, 4096), 1 << 20)  # one more shows that it has grown
        while len(content) <= limit:
            chunk = os.read(descriptor, min(piece, limit + 1 - len(content)))
            if not chunk:
                return bytes(content)
            content += chunk
    finally:
        os.close(descriptor)
    raise OSError(errno.EFBIG, f"longer than {limit} bytes", str(path))
