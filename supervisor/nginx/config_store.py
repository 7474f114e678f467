"""
The configuration on disk: one folder a generation, and one link that says which is live.

nginx is started on `conf/nginx.conf`, where `conf` is a link.  A new configuration is written into
a folder of its own and tested there; the link is then replaced by a rename.  So the live files are
never half old and half new, whatever the disk does and whenever the power goes, and the last good
configuration is simply the folder before.
"""

import os
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from supervisor.core.model import Plan
from supervisor.nginx.render import RenderedConfig, Renderer

LINK = "conf"
_FOLDER = "conf-{}"
_NEW_LINK = ".conf-new"

#: Holds a file for each generation that another has followed; workers of these ask the new ones.
_OVER = "over"
#: More than there can be generations of workers at once (MAX_DRAINING).
_MOST_OVER = 128

_FILE_MODE = 0o640
_FOLDER_MODE = 0o700


class ConfigStore:
    """
    The generations below one runtime folder.  Used by the clerk's thread only.
    """

    def __init__(
        self, folder: Path, renderer: Renderer, operator: Callable[[], Mapping[str, bytes]]
    ) -> None:
        self._folder = folder
        self._renderer = renderer
        self._operator = operator
        self._bundles: dict[int, RenderedConfig] = {}
        self._good: int | None = None
        self._good_name = ""
        self._over: deque[str] = deque()
        self._mode = 0o711 if os.geteuid() == 0 else _FOLDER_MODE  # root's workers are others

    def path(self, attempt: int) -> Path:
        """Return the nginx.conf that was staged for an attempt."""
        return self._folder / _FOLDER.format(attempt) / "nginx.conf"

    def stage(
        self, attempt: int, plan: Plan, rotation: int, *, reread_operator_files: bool = True
    ) -> tuple[RenderedConfig, bool]:
        """
        Render and write a configuration beside the live one.

        The operator's files are read anew (`reread_operator_files`) or taken from the last good one.  Returns it,
        and whether the live files are still what was put there.  Raises OSError or a template's
        error, with nothing left behind.
        """
        if reread_operator_files or self._good is None:
            operator = self._operator()
        else:
            good = self._bundles[self._good].files
            operator = {path: good[path] for path in good if "/" in path}
        bundle = self._renderer.bundle(plan, attempt, rotation, operator)
        self._write(_FOLDER.format(attempt), bundle)
        self._bundles[attempt] = bundle
        return bundle, self._is_intact()

    def swap(self, attempt: int) -> None:
        """Make what was staged for an attempt the live configuration, at one instant."""
        self._point_to(_FOLDER.format(attempt))

    def keep(self, attempt: int) -> None:
        """Take an attempt's configuration as the last good one, and forget all others."""
        if attempt == self._good:
            return
        if self._good is not None:
            self._end(self._bundles[self._good].generation)
        self._good, self._good_name = attempt, _FOLDER.format(attempt)
        self._bundles = {attempt: self._bundles[attempt]}
        for entry in self._folder.glob(_FOLDER.format("*")):
            if entry.name != self._good_name:
                _remove(entry)

    def restore(self) -> None:
        """Make the last good configuration the live one again, written anew if it was damaged."""
        if self._good is None or self._is_intact():
            return
        bundle = self._bundles[self._good]
        if not _holds(self._folder / self._good_name, bundle):
            # Under another name: the damaged folder may be the live one until the link moves.
            self._good_name = (
                f"{_FOLDER.format(self._good)}{'r' if not self._good_name.endswith('r') else ''}"
            )
            self._write(self._good_name, bundle)
        self._point_to(self._good_name)

    def discard(self, attempt: int) -> None:
        """Remove what was staged for an attempt that is not used."""
        if attempt != self._good:
            self._bundles.pop(attempt, None)
            _remove(self._folder / _FOLDER.format(attempt))

    def clear(self) -> None:
        """Remove what an earlier process left: folders, link and sockets."""
        for name in (
            *self._folder.glob(_FOLDER.format("*")),
            self._folder / LINK,
            self._folder / _NEW_LINK,
            self._folder / _OVER,
            self._folder / "nginx.pid",  # nginx would write through a link
        ):
            _remove(name)

    def _is_intact(self) -> bool:
        if self._good is None:
            return True
        live = self._folder / LINK
        pointed = live.is_symlink() and str(live.readlink()) == self._good_name
        return pointed and _holds(self._folder / self._good_name, self._bundles[self._good])

    def _write(self, name: str, bundle: RenderedConfig) -> None:
        for place in (self._folder, self._folder / "temp"):  # gone, if somebody tidied up
            if not place.is_dir():
                place.mkdir()
                place.chmod(self._mode)
        folder = self._folder / name
        _remove(folder)  # an earlier try, or a trap: a planted link is removed, never followed
        try:
            folder.mkdir(mode=_FOLDER_MODE)
            for path, content in bundle.files.items():
                target = folder / path
                target.parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
                _write_new(target, content)
        except OSError:
            _remove(folder)
            raise

    def _end(self, generation: str) -> None:
        """Let the workers of a generation know that it is over; without, they ask as they did."""
        folder = self._folder / _OVER
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            folder.chmod(self._mode)
            (folder / generation).touch()
            self._over.append(generation)
            while len(self._over) > _MOST_OVER:
                (folder / self._over.popleft()).unlink(missing_ok=True)

    def _point_to(self, name: str) -> None:
        link = self._folder / _NEW_LINK
        _remove(link)
        link.symlink_to(name)
        live = self._folder / LINK
        if not live.is_symlink():
            _remove(live)  # a folder that somebody put there is not replaced by a rename
        link.replace(live)


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet; an error may show only when it is closed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, _FILE_MODE)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def _holds(folder: Path, bundle: RenderedConfig) -> bool:
    """Tell whether a folder has exactly these files with these bytes."""
    try:
        found = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if not path.is_dir()
        }
    except OSError:
        return False
    return found == dict(bundle.files)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
