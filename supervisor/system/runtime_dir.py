"""
RUNTIME_DIR: the folder for configuration and sockets, claimed by one supervisor at a time.

nginx is reloaded from this folder with our rights, so no other user may be able to replace it or
one of the folders above it.
"""

import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from supervisor.core.config.paths import runtime_candidates
from supervisor.core.errors import ExitCode, FolderInUse, Problem


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
            descriptor = self._lock(path)
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
        mode = _mode()
        for path, held in tuple(self._held.items()):
            if _is_same(path, held):
                continue
            if path == self.folder:
                _make(path, mode)
            descriptor = self._lock(path)
            if descriptor is None:
                raise OSError(errno.EBUSY, "another autoexit-nginx uses it", str(path))
            os.close(held)
            self._held[path] = descriptor
            restored.append(path.name)
        return restored

    def _lock(self, path: Path) -> int | None:
        return _lock(path, is_folder=path == self.folder)


def claim_runtime(environ: Mapping[str, str]) -> RuntimeLock:
    """
    Find a usable folder and lock it.  Raises Problem with the candidates and their errors.
    """
    folder = _usable(runtime_candidates(environ, os.geteuid()))
    lock = RuntimeLock(folder)
    try:
        is_ours = lock.acquire()
    except OSError as error:
        reason = f"{error.strerror}: remove it"
        raise Problem(ExitCode.CONFIG, f"cannot use {folder}/lock: {reason}; giving up") from error
    if not is_ours:
        raise FolderInUse(folder)
    return lock


@contextmanager
def trial_folder(environ: Mapping[str, str]) -> Iterator[Path]:
    """
    Yield a new folder inside the one that a start would use, which may be in use by a supervisor.

    At the end it is removed, with what was created around it.  Raises Problem as a claim does.
    """
    candidates = runtime_candidates(environ, os.geteuid())
    paths = [path for each in map(Path, candidates) for path in (each, *each.parents)]
    new = [path for path in paths if not path.exists()]  # innermost first
    try:
        # Short, because a socket in it has a path of at most 107 bytes.
        folder = _usable(candidates) / f"try{secrets.token_hex(2)}"
        folder.mkdir()
        folder.chmod(_mode())
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        for path in new:
            with suppress(OSError):  # not empty: a supervisor started meanwhile
                path.rmdir()


def lock_state(folder: Path) -> bool:
    """
    Create and lock STATE_DIR for as long as this process runs; False if another one holds the lock.

    A folder that cannot be used counts as locked: saving the deadline will report it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _lock(folder, is_folder=True) is not None
    except OSError:
        return True


def _usable(candidates: list[str]) -> Path:
    """Create and return the first usable folder.  Raises Problem with the error of each."""
    folder, errors = _first_usable(candidates)
    if folder is None:
        raise Problem(
            ExitCode.CONFIG,
            f"cannot write to any RUNTIME_DIR ({'; '.join(errors)}):"
            f" mount a tmpfs at {Path(candidates[0]).parent}; giving up",
        )
    return folder


def _mode() -> int:
    return 0o711 if os.geteuid() == 0 else 0o700


def _first_usable(candidates: Iterable[str]) -> tuple[Path | None, list[str]]:
    """
    Create and return the first usable folder, or None and an error for each candidate.
    """
    errors = []
    mode = _mode()
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
    for path in (*reversed(folder.parents), folder):
        _refuse_foreign_parents(path)  # before anything is created in them
        if not path.is_dir():
            path.mkdir(mode=mode if path in {folder.parent, folder} else 0o755)
            path.chmod(mode if path in {folder.parent, folder} else 0o755)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        # Another user's folder in a shared one is not safe; a mount made for this container is.
        # Root's nginx must not read what another user can change.
        if (
            folder.is_symlink()
            or os.geteuid() == 0
            or (folder.stat().st_mode & stat.S_ISVTX and not _is_private_mount(folder))
        ):
            raise PermissionError(errno.EPERM, "owned by another user")
        return
    folder.chmod(mode)


def _refuse_foreign_parents(folder: Path) -> None:
    """
    Raise PermissionError when another user can rename this folder or one above it.

    Not as an ordinary user that PID 1 runs as too: Nomad's task folder in a container belongs to
    nobody, but all processes of the container are children of PID 1 or started by its operator.
    """
    if os.geteuid() != 0 and _user_of_pid1() == os.geteuid():
        return
    for path in sorted({*folder.parents, *folder.resolve().parents}):
        found = path.lstat()
        if found.st_uid not in {0, os.geteuid()} and not _is_unmapped(found.st_uid):
            raise PermissionError(errno.EPERM, f"{path} is owned by another user")
        if not stat.S_ISDIR(found.st_mode) or found.st_mode & stat.S_ISVTX:
            continue
        by_group = found.st_mode & stat.S_IWGRP and found.st_gid not in {0, os.getegid()}
        if by_group or found.st_mode & stat.S_IWOTH:
            raise PermissionError(errno.EPERM, f"other users may write to {path}")


def _user_of_pid1() -> int | None:
    """Return the number of PID 1's user; its folder in /proc may belong to root all the same."""
    try:
        lines = Path("/proc/1/status").read_text().splitlines()
    except OSError:
        return os.geteuid() if os.getpid() == 1 else None
    return next((int(line.split()[2]) for line in lines if line.startswith("Uid:")), None)


def _is_unmapped(uid: int) -> bool:
    """Return whether this is the kernel's number for all owners outside our user namespace."""
    try:
        if uid != int(Path("/proc/sys/kernel/overflowuid").read_text()):
            return False
        lines = Path("/proc/self/uid_map").read_text().splitlines()
        ranges = [[int(number) for number in line.split()] for line in lines]
    except (OSError, ValueError):
        return False
    return not any(first <= uid < first + count for first, _, count in ranges)


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


def _lock(path: Path, *, is_folder: bool) -> int | None:
    """
    Lock a folder or a file for this process; None when another supervisor holds the lock.

    Raises OSError when it is of another kind, or its file system has no locks.
    """
    kind = os.O_DIRECTORY if is_folder else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, kind | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if not is_folder and not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # a file system without locks
        os.close(descriptor)
        raise
    return descriptor
