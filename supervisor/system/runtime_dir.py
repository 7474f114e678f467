"""
RUNTIME_DIR: the folder for configuration and sockets, claimed by one supervisor at a time.
"""

import fcntl
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from supervisor.core.config.paths import runtime_candidates
from supervisor.core.errors import ExitCode, Problem


def claim_runtime(environ: Mapping[str, str]) -> Path:
    """
    Find the folder for config and sockets and claim it.  Raises Problem with what was tried.
    """
    candidates = runtime_candidates(environ)
    folder, errors = _first_usable(candidates)
    if folder is None:
        raise Problem(
            ExitCode.CONFIG,
            f"cannot write to any RUNTIME_DIR ({'; '.join(errors)}):"
            f" mount a tmpfs at {Path(candidates[0]).parent}; giving up",
        )
    if _lock(folder) is None:
        raise Problem(
            ExitCode.CONFIG, f"cannot use {folder}: another autoexit-nginx uses it; giving up"
        )
    return folder


def _first_usable(candidates: Iterable[str]) -> tuple[Path | None, list[str]]:
    """
    Make the first of the folders that can be ours and written to; else None, and why not each.
    """
    errors = []
    mode = 0o711 if os.geteuid() == 0 else 0o700
    for candidate in candidates:
        folder = Path(candidate)
        if len(str(folder)) > 85:  # a socket's path has 107 bytes at most
            errors.append(f"{folder}: too long for a socket in it")
            continue
        try:
            _make(folder, mode)
            probe = folder / ".writable"
            probe.unlink(missing_ok=True)
            probe.touch(exist_ok=False)  # anew, or it would be written through a planted link
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
        # Somebody else's folder in a shared place is a trap; a mount made for us is not.
        if folder.is_symlink() or (folder.stat().st_mode & 0o1000 and not _is_for_us(folder)):
            raise PermissionError(1, "belongs to somebody else")
        return
    folder.chmod(mode)


def _is_for_us(folder: Path) -> bool:
    """Tell a tmpfs that an engine mounted, root's and open to all, from a /tmp that others use."""
    return folder.is_mount() and all(
        entry.lstat().st_uid == os.geteuid() for entry in folder.iterdir()
    )


def _lock(folder: Path) -> int | None:
    """
    Claim a runtime folder for this process; None when another supervisor uses it.
    """
    descriptor = os.open(
        folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
