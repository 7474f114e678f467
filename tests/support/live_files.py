"""
The files on disk that nginx reads.
"""

import threading
from pathlib import Path
from typing import Self

from supervisor.nginx.host_limits import worker_count
from tests.support.supervised import Supervised
from tests.support.waiting import eventually


def live_folder(subject: Supervised) -> Path:
    """
    Return the folder of the live configuration, the supervisor's or the old pattern's.
    """
    conf = subject.home / "run" / "conf"
    return conf if conf.is_symlink() else subject.home


def live_files(subject: Supervised) -> dict[str, bytes]:
    """
    Return the content of the live files by path.
    """
    folder = live_folder(subject).resolve()
    pattern = "*.conf" if folder == subject.home.resolve() else "**/*"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }


def all_workers(subject: Supervised) -> list[int]:
    """
    Wait for the configured number of workers and return their pids.
    """
    wanted = worker_count() if subject.subject.name == "ours" else 2
    eventually(lambda: len(subject.nginx_workers()) == wanted, 5, what=f"{wanted} workers")
    return subject.nginx_workers()


class FileWatch:
    """
    Reads one file repeatedly, to detect whether it is ever missing or truncated.

    `truncated` holds each content without the expected end, "" for a missing file.
    """

    def __init__(self, path: Path, end: bytes) -> None:
        self._path = path
        self._end = end
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.truncated: list[bytes] = []
        self.reads = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(0.0002):
            try:
                content = self._path.read_bytes()
            except OSError:
                content = b""
            self.reads += 1
            if not content.endswith(self._end):
                self.truncated.append(content)
