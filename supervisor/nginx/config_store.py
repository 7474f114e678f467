"""
The configuration on disk: one folder per generation, and a link to the live one.

nginx is started on `conf/nginx.conf`, where `conf` is a link.  A new configuration is written to
its own folder and tested there; then the link is replaced by a rename.  The live files are thus
never half old and half new, even after a disk error or a power failure, and the last good
configuration is the previous folder.
"""

import os
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from supervisor.core.model import Plan
from supervisor.nginx import operator_servers
from supervisor.nginx.internal_socket import GenerationSockets, remove_sockets
from supervisor.nginx.render import RenderedConfig, Renderer
from supervisor.nginx.socket_names import CURRENT_LINK
from supervisor.system.regular_file import read_regular

LINK = "conf"
_FOLDER = "conf-{}"
_NEW_LINK = ".conf-new"

#: Listeners of versions that used the same names in each run.
_OLD_SOCKETS = ("generation.sock", CURRENT_LINK)

#: Folder with one file per superseded generation: a worker that finds its own generation there
#: forwards requests on kept connections to the current workers.
_SUPERSEDED = "over"
#: Above the number of generations of workers that can run at once (MAX_DRAINING).
_MAX_SUPERSEDED = 128

#: Above the size of each of our files.
_MAX_BYTES = 64 * 1024 * 1024

_FILE_MODE = 0o640
_FOLDER_MODE = 0o700


class ConfigStore:
    """
    The generations below one runtime folder.  Used by one thread only.
    """

    def __init__(
        self,
        folder: Path,
        renderer: Renderer,
        read_operator_files: Callable[[], Mapping[str, bytes]],
        sockets: GenerationSockets | None = None,
    ) -> None:
        self._folder = folder
        self._sockets = sockets or GenerationSockets(folder)
        self._renderer = renderer
        self._read_operator_files = read_operator_files
        self._configs: dict[int, RenderedConfig] = {}
        self._last_good: int | None = None
        self._last_good_folder = ""
        self._listener = 1
        self._superseded: deque[str] = deque()
        # root's workers run as another user and must reach the sockets.
        self._mode = 0o711 if os.geteuid() == 0 else _FOLDER_MODE

    def path(self, attempt: int) -> Path:
        """Return the nginx.conf that was staged for an attempt."""
        return self._folder / _FOLDER.format(attempt) / "nginx.conf"

    def warnings(self, attempt: int) -> tuple[str, ...]:
        """Return what is wrong with the operator's files of an attempt, though nginx accepts it."""
        files = self._configs[attempt].files
        return tuple(operator_servers.on_our_ports(files, self._renderer.listen))

    def configs(self) -> list[RenderedConfig]:
        """Return the last good configuration and those of attempts; for any thread."""
        return list(self._configs.values())

    def stage(
        self, attempt: int, plan: Plan, rotation: int, *, reread_operator_files: bool = True
    ) -> tuple[RenderedConfig, bool]:
        """
        Render a configuration and write it beside the live one.

        The operator's files are read again (`reread_operator_files`) or copied from the last good
        configuration.  Returns the configuration, and false if nginx runs these bytes already but
        those on disk were modified.  Raises OSError or a template's error, and then leaves no files
        behind.
        """
        if reread_operator_files or self._last_good is None:
            operator = self._read_operator_files()
        else:
            good = self._configs[self._last_good].files
            operator = {path: good[path] for path in good if "/" in path}
        if self._last_good is not None and self._is_lost(
            self._configs[self._last_good].current_socket
        ):
            self._listener += 1  # nginx opens a socket again only under another name
        config = self._renderer.render(plan, attempt, rotation, operator, self._listener)
        self._write(_FOLDER.format(attempt), config)
        self._configs[attempt] = config
        self._sockets.add(config.generation_socket)
        live = self._configs.get(self._last_good or 0)
        is_new = live is None or config.digest != live.digest
        return config, is_new or self._is_live_intact()

    def swap(self, attempt: int) -> None:
        """Make an attempt's staged configuration the live one, atomically."""
        self._point_to(_FOLDER.format(attempt))

    def keep(self, attempt: int) -> None:
        """Make an attempt's configuration the last good one, and remove all others."""
        config = self._configs[attempt]
        self._sockets.keep(config.generation_socket)
        if attempt == self._last_good:
            return
        if config.current_socket:
            self._link_current(config.current_socket)
        if self._last_good is not None:
            self._mark_superseded(self._configs[self._last_good].generation)
        self._last_good, self._last_good_folder = attempt, _FOLDER.format(attempt)
        self._configs = {attempt: config}
        with suppress(OSError):  # what a broken disk keeps is removed after a later attempt
            remove_sockets(self._folder, keep=(config.generation_socket, config.current_socket))
            for entry in self._folder.glob(_FOLDER.format("*")):
                if entry.name != self._last_good_folder:
                    _remove(entry)

    def restore(self) -> None:
        """Make the last good configuration live again; rewrite it first if it was damaged."""
        if self._last_good is None or self._is_live_intact():
            return
        config = self._configs[self._last_good]
        if not _matches(self._folder / self._last_good_folder, config):
            # Under another name: the damaged folder may be the live one until the link moves.
            suffix = "" if self._last_good_folder.endswith("r") else "r"
            self._last_good_folder = f"{_FOLDER.format(self._last_good)}{suffix}"
            self._write(self._last_good_folder, config)
        self._point_to(self._last_good_folder)

    def lost_sockets(self) -> list[str]:
        """Return the sockets of the last good configuration that were removed.  Raises OSError."""
        if self._last_good is None:
            return []
        good = self._configs[self._last_good]
        return [
            name for name in (good.generation_socket, good.current_socket) if self._is_lost(name)
        ]

    def restore_link(self) -> list[str]:
        """Create the link to the current socket again if it was removed."""
        if self._last_good is None:
            return []
        good = self._configs[self._last_good]
        is_lost = bool(good.current_socket) and not (self._folder / CURRENT_LINK).is_symlink()
        if is_lost:
            self._link(CURRENT_LINK, good.current_socket)
        return [CURRENT_LINK] if is_lost else []

    def _is_lost(self, socket: str) -> bool:
        return bool(socket) and not (self._folder / socket).is_socket()

    def discard(self, attempt: int) -> None:
        """Remove the staged configuration of an attempt that is not used."""
        if attempt != self._last_good:
            if attempt in self._configs:
                self._sockets.discard(self._configs.pop(attempt).generation_socket)
            with suppress(OSError):  # as in `keep`
                _remove(self._folder / _FOLDER.format(attempt))

    def clear(self) -> None:
        """Remove what an earlier process left: folders, links, sockets and the pid file."""
        remove_sockets(self._folder)
        for path in (
            *self._folder.glob(_FOLDER.format("*")),
            self._folder / LINK,
            self._folder / _NEW_LINK,
            self._folder / _SUPERSEDED,
            *(self._folder / name for name in _OLD_SOCKETS),
            self._folder / "nginx.pid",  # nginx would write through a link
        ):
            _remove(path)

    def _is_live_intact(self) -> bool:
        if self._last_good is None:
            return True
        live = self._folder / LINK
        is_linked = live.is_symlink() and str(live.readlink()) == self._last_good_folder
        return is_linked and _matches(
            self._folder / self._last_good_folder, self._configs[self._last_good]
        )

    def _write(self, name: str, config: RenderedConfig) -> None:
        for parent in (self._folder, self._folder / "temp"):  # a cleanup job may have removed them
            if not parent.is_dir():
                parent.mkdir()
                parent.chmod(self._mode)
        folder = self._folder / name
        _remove(folder)  # an earlier attempt or a planted link: removed, never followed
        try:
            folder.mkdir(mode=_FOLDER_MODE)
            for path, content in config.files.items():
                target = folder / path
                target.parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
                _write_new(target, content)
        except OSError:
            _remove(folder)
            raise

    def _mark_superseded(self, generation: str) -> None:
        """
        Mark a generation as superseded for its workers; without the mark nothing changes.

        The mark is a link to the socket that they then pass requests to, which is executable: if it
        was removed, the mark does not count until it is there again.
        """
        folder = self._folder / _SUPERSEDED
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            folder.chmod(self._mode)
            with suppress(FileExistsError):
                (folder / generation).symlink_to(Path("..", CURRENT_LINK))
            self._superseded.append(generation)
            while len(self._superseded) > _MAX_SUPERSEDED:
                (folder / self._superseded.popleft()).unlink(missing_ok=True)

    def _link_current(self, socket: str) -> None:
        """Let workers of earlier generations connect to this socket, unless the disk refuses."""
        with suppress(OSError):
            # Of sockets nginx can test only this bit; connecting needs the others, as before.
            (self._folder / socket).chmod(0o777)
            link = self._folder / CURRENT_LINK
            if not link.is_symlink() or str(link.readlink()) != socket:
                self._link(CURRENT_LINK, socket)

    def _point_to(self, name: str) -> None:
        self._link(LINK, name)

    def _link(self, name: str, target: str) -> None:
        link = self._folder / _NEW_LINK
        _remove(link)
        link.symlink_to(target)
        live = self._folder / name
        if not live.is_symlink():
            _remove(live)  # a rename cannot replace a folder
        link.replace(live)


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet; some errors are reported only when it is closed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, _FILE_MODE)
    try:
        remaining = memoryview(content)
        while remaining:
            remaining = remaining[os.write(descriptor, remaining) :]
    finally:
        os.close(descriptor)


def _matches(folder: Path, config: RenderedConfig) -> bool:
    """Return whether a folder holds exactly the files of a configuration."""
    try:
        found = {
            str(path.relative_to(folder)): read_regular(path, _MAX_BYTES)
            for path in folder.rglob("*")
            if not path.is_dir()
        }
    except OSError:
        return False
    return found == dict(config.files)


def _remove(path: Path) -> None:
    """Remove a file of any kind, a link or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):  # on a read-only disk unlink fails for a missing file too
        path.unlink(missing_ok=True)
