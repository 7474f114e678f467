"""
Whether clients use the service, for IDLE_TIMEOUT: requests that ended, connections that are open.

nginx has no counter of requests to read without stub_status, and that one counts health checks and
the supervisor's own requests.  So nginx writes one byte to a file for each request of a client,
through a buffer: no system call for a request, and one write a second for a worker with traffic.
A request shows there when it ends; until then its client's connection is open, which the kernel
lists.

Nothing here may fail silently: what cannot be observed is reported as an error, which counts as
use.  So the disk is tested by a byte of our own, the kernel's list by a connection of our own.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from supervisor.core.events import Event, UseObserved
from supervisor.nginx import operator_servers, workers
from supervisor.nginx.render import RenderedConfig

#: Name of the file in RUNTIME_DIR, as in `nginx.conf.j2`.
NAME = "use.log"

#: Seconds between two looks: this part of IDLE_TIMEOUT, within these limits.
_LOOKS_PER_TIMEOUT = 20
_MIN_INTERVAL, _MAX_INTERVAL = 0.5, 5.0

#: The file is emptied when it is larger, in bytes.
_MAX_SIZE = 1 << 20

#: How many files are watched: workers of earlier generations may hold one that was replaced.
_MAX_FILES = 8

#: More ports than this of the operator's servers are not listed one by one.
_MAX_PORTS = 64


class ConfigSource(Protocol):
    """Where the configurations that nginx may run come from."""

    def configs(self) -> list[RenderedConfig]:
        """Return the last good configuration and the candidates."""


class UseWatcher:
    """
    A thread that looks at the file and at the connections, and posts what it saw.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        timeout: float,
        configs: ConfigSource,
        post: Callable[[Event], None],
    ) -> None:
        self._path = folder / NAME
        self._port = port
        self._interval = min(_MAX_INTERVAL, max(_MIN_INTERVAL, timeout / _LOOKS_PER_TIMEOUT))
        self._configs = configs
        self._post = post
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="use watcher", daemon=True)
        self._files: dict[tuple[int, int], _UseFile] = {}
        self._open_before = frozenset[int]()
        self._read_digests = frozenset[str]()
        self._operator_ports = frozenset[int]()
        self._replaced_logs: list[str] = []
        self._is_tested = False

    def start(self) -> None:
        """Replace the file of an earlier process, before nginx opens it, and start to look."""
        with suppress(OSError):  # the first look reports it
            self._path.unlink(missing_ok=True)
            self._count_requests()
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self._post(self.look())

    def look(self) -> UseObserved:
        """Return what happened since the last look."""
        try:
            requests = self._count_requests()
            self._read_operator_files()
            opened = self._connections()
        except OSError as error:
            return UseObserved(error=f"cannot observe requests: {error.strerror or error}")
        kept, self._open_before = len(opened & self._open_before), opened
        return UseObserved(requests, len(opened), kept, self._blind_spot())

    def _count_requests(self) -> int:
        """Return how many requests were written to the files.  Raises OSError."""
        descriptor = os.open(
            self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640
        )
        held = os.fstat(descriptor)
        identity = (held.st_dev, held.st_ino)
        if identity in self._files:
            os.close(descriptor)
        else:
            self._files[identity] = _UseFile(descriptor)
        while len(self._files) > _MAX_FILES:
            os.close(self._files.pop(next(iter(self._files))).descriptor)
        found = sum(file.read_new() for file in self._files.values())
        self._files[identity].test()
        return found

    def _read_operator_files(self) -> None:
        """Find what the operator's files hide, when nginx has got other ones."""
        configs = self._configs.configs()
        digests = frozenset(config.digest for config in configs)
        if digests == self._read_digests:
            return
        self._replaced_logs = []
        for config in configs:
            # Workers of earlier generations may still serve ports that were removed.
            self._operator_ports |= operator_servers.listening_ports(config.files)
            self._replaced_logs += operator_servers.replaced_logs(config.files)
        self._read_digests = digests

    def _blind_spot(self) -> str:
        """Return why requests may escape, empty if none can."""
        if self._replaced_logs:
            places = ", ".join(dict.fromkeys(self._replaced_logs))
            return (
                f"cannot observe requests: access_log in {places} replaces the one of the idle"
                " clock; move it to http level, in conf.d"
            )
        return ""

    def _connections(self) -> frozenset[int]:
        """Return the open connections of clients, by inode.  Raises OSError."""
        ports = {self._port, *self._operator_ports}
        if len(ports) > _MAX_PORTS:
            raise OSError(f"conf.d listens on more than {_MAX_PORTS} ports")
        if not self._is_tested:
            _test_list()
            self._is_tested = True
        return _union(workers.accepted(port) for port in sorted(ports))


class _UseFile:
    """One file that nginx appends to, and how much of it is known."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._position = 0

    def read_new(self) -> int:
        """Return how many bytes were appended; empty a file that became large."""
        size = os.fstat(self.descriptor).st_size
        # Somebody emptied it: what was in it is unknown.
        appended = size - self._position if size >= self._position else 1
        self._position = size
        if size > _MAX_SIZE:
            # What arrives before this is lost, so the look counts as use in any case.
            os.ftruncate(self.descriptor, 0)
            self._position = 0
            return max(1, appended)
        return appended

    def test(self) -> None:
        """Raise OSError if nothing can be appended, as to a full disk."""
        self._position += os.write(self.descriptor, b"\n")


def _test_list() -> None:
    """Raise OSError if a connection that exists is not listed: some sandboxes list nothing."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()[:2], timeout=1.0) as client,
    ):
        accepted, _ = server.accept()
        with accepted, client:
            inode = os.fstat(accepted.fileno()).st_ino
            if inode not in workers.accepted(server.getsockname()[1]):
                raise OSError("the kernel does not list open connections")


def _union(sets: Iterable[set[int]]) -> frozenset[int]:
    return frozenset[int]().union(*sets)
