"""
RUNTIME_DIR: the folder for configuration and sockets, claimed by one supervisor at a time.
"""

import errno
import fcntl
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from supervisor.core.config.paths import runtime_candidates
from supervisor.core.errors import ExitCode, Problem


class RuntimeLock:
    """
    The lock of a claimed folder: on the folder itself, which stays if the file is removed, and on
    the file, which stays if the folder is replaced, and which earlier versions use alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[Path, int] = {}

    def acquire(self) -> bool:
        """Lock the folder and the file; False when another supervisor holds one of them."""
        for path in (self.folder, self.folder / "lock"):
            descriptor = _lock(path)
            if descriptor is None:
                return False
            if path in self._held:
                os.close(self._held[path])
            self._held[path] = descriptor
        return True

    def restore(self) -> list[str]:
        """
        Lock what was removed or replaced, and return its name.  Raises OSError if it cannot.
        """
        restored = []
        mode = 0o711 if os.geteuid() == 0 else 0o700
        for path, held in tuple(self._held.items()):
            if _is_same(path, held):
                continue
            if path == self.folder:
                _make(path, mode)
            descriptor = _lock(path)
            if descriptor is None:
                raise OSError(errno.EBUSY, "another autoexit-nginx uses it", str(path))
            os.close(held)
            self._held[path] = descriptor
            restored.append(path.name)
        return restored


def claim_runtime(environ: Mapping[str, str]) -> RuntimeLock:
    """
    Find a usable folder and lock it.  Raises Problem with the candidates and their errors.
    """
    candidates = runtime_candidates(environ)
    folder, errors = _first_usable(candidates)
    if folder is None:
        raise Problem(
            ExitCode.CONFIG,
            f"cannot write to any RUNTIME_DIR ({'; '.join(errors)}):"
            f" mount a tmpfs at {Path(candidates[0]).parent}; giving up",
        )
    lock = RuntimeLock(folder)
    if not lock.acquire():
        raise Problem(
            ExitCode.CONFIG, f"cannot use {folder}: another autoexit-nginx uses it; giving up"
        )
    return lock


def _first_usable(candidates: Iterable[str]) -> tuple[Path | None, list[str]]:
    """
    Create and return the first usable folder, or None and an error for each candidate.
    """
    errors = []
    mode = 0o711 if os.geteuid() == 0 else 0o700
    for candidate in candidates:
        folder = Path(candidate)
        if len(str(folder)) > 85:  # the path of a socket is at most 107 bytes long
            errors.append(f"{folder}: too long for the path of a socket")
            continue
        try:
            _make(folder, mode)
            probe = folder / ".writable"
            probe.unlink(missing_ok=True)
            probe.touch(exist_ok=False)  # created, so that no planted link is followed
            probe.unlink()
        except OSError as error:
            errors.append(f"{folder}: {error.strerror}")
            continue
        return folder, []
    return None, errors


def _make(folder: Path, mode: int) -> None:
    for parent in (folder.parent, folder):
        if not parent.is_dir():
            parent.mkdir(parents=True, exist_ok=True)
            parent.chmod(mode)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        # Another user's folder in a shared one is not safe; a mount made for this container is.
        if folder.is_symlink() or (
            folder.stat().st_mode & 0o1000 and not _is_private_mount(folder)
        ):
            raise PermissionError(1, "owned by another user")
        return
    folder.chmod(mode)


def _is_private_mount(folder: Path) -> bool:
    """Return whether this is a container engine's own tmpfs and not a /tmp shared with others."""
    return folder.is_mount() and all(
        entry.lstat().st_uid == os.geteuid() for entry in folder.iterdir()
    )


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _lock(path: Path) -> int | None:
    """
    Lock a folder or a file for this process; None when another supervisor holds the lock.
    """
    kind = os.O_DIRECTORY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, kind | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
