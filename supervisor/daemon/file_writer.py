"""
The file writer: one thread that performs all writes to disk, in the order of the tasks.

A slow disk delays only this thread; it posts an event with the result of each task.
"""

import queue
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from supervisor.core.commands import (
    CheckFiles,
    Discard,
    MarkLastGood,
    Restore,
    SaveCache,
    SaveState,
    Stage,
    Swap,
)
from supervisor.core.events import (
    Event,
    FilesChecked,
    Staged,
    StageFailed,
    StateSaved,
    SwapFailed,
    Swapped,
)
from supervisor.discovery.cache import EndpointCache
from supervisor.nginx.config_store import ConfigStore
from supervisor.system.state_file import save_ended, save_record

Task = Stage | Swap | Restore | Discard | MarkLastGood | CheckFiles | SaveCache | SaveState


class FileWriter:
    """
    The writing thread and its queue.
    """

    def __init__(
        self,
        config_store: ConfigStore,
        cache: EndpointCache,
        state_dir: Path,
        post: Callable[[Event], None],
        restore: Iterable[Callable[[], list[str]]] = (),
    ) -> None:
        self._restore = [config_store.restore_link, *restore]
        self._configs = config_store
        self._cache = cache
        self._state_dir = state_dir
        self._post = post
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._work, name="file-writer", daemon=True).start()

    def submit(self, task: Task) -> None:
        """Queue a task."""
        self._tasks.put(lambda: self._perform(task))

    def finish(self, ended: dict[str, object], within: float) -> None:
        """Write `ended.json` after all queued tasks, waiting at most `within` seconds."""
        done = threading.Event()

        def write() -> None:
            save_ended(self._state_dir, ended)
            done.set()

        self._tasks.put(write)
        done.wait(within)

    def _work(self) -> None:
        while True:
            self._tasks.get()()

    def _perform(self, task: Task) -> None:
        match task:
            case Stage(attempt, plan, rotation, reread_operator_files):
                try:
                    bundle, intact = self._configs.stage(
                        attempt, plan, rotation, reread_operator_files=reread_operator_files
                    )
                except Exception as error:  # noqa: BLE001 - a template may raise anything
                    self._post(
                        StageFailed(attempt, f"cannot stage the configuration: {_text(error)}")
                    )
                else:
                    self._post(Staged(attempt, bundle.digest, bundle.generation, intact))
            case Swap(attempt):
                self._report_swap(attempt, lambda: self._configs.swap(attempt))
            case Restore(live):
                self._report_swap(live.attempt, self._configs.restore)
            case MarkLastGood(live):
                self._configs.keep(live.attempt)
            case CheckFiles():
                self._check_files()
            case Discard(attempt):
                self._configs.discard(attempt)
            case SaveCache(caches):
                with suppress(OSError):  # such a disk also fails Stage, which is reported
                    self._cache.save(caches)
            case SaveState(record):
                try:
                    save_record(self._state_dir, record)
                except OSError as error:
                    self._post(
                        StateSaved(
                            f"cannot write {self._state_dir}/state.json: {_text(error)}", record
                        )
                    )
                else:
                    self._post(StateSaved(record=record))

    def _check_files(self) -> None:
        restored, errors = list[str](), list[str]()
        for restore in self._restore:
            try:
                restored += restore()
            except OSError as error:
                errors.append(f"cannot restore {error.filename or 'a socket'}: {_text(error)}")
        lost = self._configs.lost_sockets()
        self._post(FilesChecked(tuple(restored), tuple(lost), "; ".join(errors)))

    def _report_swap(self, attempt: int, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            self._post(SwapFailed(attempt, f"cannot swap in the configuration: {_text(error)}"))
        else:
            self._post(Swapped(attempt))


def _text(error: Exception) -> str:
    return (
        (error.strerror or str(error))
        if isinstance(error, OSError)
        else f"{type(error).__name__}: {error}"
    )
