"""
A disk that hangs: a FUSE file system whose server never answers.
"""

import ctypes
import os
from pathlib import Path
from typing import Self

_NOSUID_NODEV = 0x2 | 0x4
_DETACH = 2
_LIBC = ctypes.CDLL(None, use_errno=True)


class HangingDisk:
    """
    Mounted over a folder; every access waits until `fail` or the end, then it gets an error.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = os.fsencode(folder)
        self._server = -1

    def __enter__(self) -> Self:
        self._server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._server},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if _LIBC.mount(b"hanging", self._folder, b"fuse", _NOSUID_NODEV, options) != 0:
            error = ctypes.get_errno()
            os.close(self._server)
            raise OSError(error, os.strerror(error))
        return self

    def __exit__(self, *_: object) -> None:
        self.fail()
        _LIBC.umount2(self._folder, _DETACH)

    def fail(self) -> None:
        """
        End the waiting of all accesses with an error.
        """
        if self._server >= 0:
            os.close(self._server)
            self._server = -1


def why_no_hanging_disk(folder: Path) -> str:
    """
    Return why none can be mounted here, or an empty string.
    """
    try:
        with HangingDisk(folder):
            return ""
    except OSError as error:
        return f"cannot mount a FUSE file system: {error}"
