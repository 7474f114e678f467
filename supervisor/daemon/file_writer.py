"""
The file writer: performs all writes to disk, in the order of the tasks.

STATE_DIR and the folders of the configuration have a thread each, because they may be on two disks,
of which one hangs.  A slow disk delays only its thread; an event is posted with the result of each
task, and when a task is overdue.  STATE_DIR is written seldom, so its thread ends when it has been
idle: under a tight limit of processes, that is the place `nginx -t` needs.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
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
    Disk,
    Event,
    FilesChecked,
    Staged,
    StageFailed,
    StateSaved,
    SwapFailed,
    Swapped,
    WriteOverdue,
    WriteResumed,
)
from supervisor.discovery.cache import EndpointCache
from supervisor.nginx.config_store import ConfigStore
from supervisor.system.state_file import save_ended, save_record

Task = Stage | Swap | Restore | Discard | MarkLastGood | CheckFiles | SaveCache | SaveState

#: What a task does, for the report of one that is overdue.
_NAMES: dict[type[Task], str] = {
    Stage: "stage the configuration",
    Swap: "swap in the configuration",
    Restore: "restore the last good configuration",
    Discard: "remove a configuration",
    MarkLastGood: "remove older configurations",
    CheckFiles: "check RUNTIME_DIR",
    SaveCache: "write endpoints.json",
    SaveState: "write state.json",
}


#: How long the thread of STATE_DIR stays without a task, in seconds.
_IDLE = 1.0


class FileWriter:
    """
    The writing threads and their queues; a task is overdue after `limit` seconds.
    """

    def __init__(
        self,
        config_store: ConfigStore,
        cache: EndpointCache,
        state_dir: Path,
        post: Callable[[Event], None],
        *,
        limit: float,
        restore: Iterable[Callable[[], list[str]]] = (),
    ) -> None:
        self._restore = [config_store.restore_link, *restore]
        self._configs = config_store
        self._cache = cache
        self._state_dir = state_dir
        self._post = post
        self._limit = limit
        config = _WritingThread(Disk.CONFIG)
        state = _WritingThread(Disk.STATE, idle=_IDLE, instead=config)
        self._threads = {Disk.CONFIG: config, Disk.STATE: state}

    def start(self) -> None:
        """Start the thread that stays."""
        self._threads[Disk.CONFIG].start()

    def submit(self, task: Task) -> None:
        """Queue a task."""
        disk = Disk.STATE if isinstance(task, SaveState) else Disk.CONFIG
        self._threads[disk].submit(_NAMES[type(task)], lambda: self._perform(task))

    def report_overdue(self) -> None:
        """Post an event for each task that became overdue, or has ended after that."""
        for thread in self._threads.values():
            for event in thread.overdue_events(self._limit):
                self._post(event)

    def finish(self, ended: dict[str, object], within: float) -> None:
        """Write `ended.json`; wait for it and for all queued tasks, at most `within` seconds."""
        until = time.monotonic() + within
        done = {disk: threading.Event() for disk in Disk}
        state = self._threads[Disk.STATE]
        state.submit("write ended.json", lambda: save_ended(self._state_dir, ended))
        for disk, thread in self._threads.items():
            thread.submit("finish", done[disk].set)
        for event in done.values():
            event.wait(max(0.0, until - time.monotonic()))

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
                    self._post(
                        Staged(
                            attempt,
                            bundle.digest,
                            bundle.generation,
                            intact,
                            bundle.reuseport,
                            self._configs.warnings(attempt),
                        )
                    )
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
        lost = list[str]()
        try:
            lost = self._configs.lost_sockets()
        except OSError as error:  # a disk that fails has removed nothing
            errors.append(f"cannot find {error.filename or 'a socket'}: {_text(error)}")
        self._post(FilesChecked(tuple(restored), tuple(lost), "; ".join(errors)))

    def _report_swap(self, attempt: int, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            self._post(SwapFailed(attempt, f"cannot swap in the configuration: {_text(error)}"))
        else:
            self._post(Swapped(attempt))


class _WritingThread:
    """
    The thread for one disk, its queue, and the task that it performs now.

    With `idle` it starts with a task and ends after that many seconds without one; where it cannot
    start, the thread `instead` takes the task.
    """

    def __init__(
        self, disk: Disk, *, idle: float | None = None, instead: "_WritingThread | None" = None
    ) -> None:
        self._disk = disk
        self._idle = idle
        self._instead = instead
        self._tasks: queue.SimpleQueue[tuple[str, Callable[[], None]]] = queue.SimpleQueue()
        self._running = False
        self._lock = threading.Lock()
        self._current: tuple[str, float] | None = None
        self._reported: tuple[str, float] | None = None

    def start(self) -> None:
        with self._lock:
            self._start()

    def submit(self, name: str, act: Callable[[], None]) -> None:
        with self._lock:
            try:
                self._start()
            except RuntimeError:  # no thread is left
                if self._instead is None:
                    raise
                self._instead.submit(name, act)
            else:
                self._tasks.put((name, act))

    def overdue_events(self, limit: float) -> Iterator[WriteOverdue | WriteResumed]:
        """Yield what has changed since the last call; called by one thread."""
        current, reported = self._current, self._reported
        if reported is not None and current is not reported:
            self._reported = None
            yield WriteResumed(self._disk, time.monotonic() - reported[1])
        if current is not None and current is not reported:
            name, began = current
            if time.monotonic() - began > limit:
                self._reported = current
                yield WriteOverdue(self._disk, name)

    def _start(self) -> None:
        if not self._running:
            name = f"{self._disk} writer"
            threading.Thread(target=self._work, name=name, daemon=True).start()
            self._running = True

    def _work(self) -> None:
        while True:
            try:
                name, act = self._tasks.get(timeout=self._idle)
            except queue.Empty:
                with self._lock:
                    if self._tasks.empty():
                        self._running = False
                        return
                continue
            self._current = (name, time.monotonic())
            act()
            self._current = None


def _text(error: Exception) -> str:
    return (
        (error.strerror or str(error))
        if isinstance(error, OSError)
        else f"{type(error).__name__}: {error}"
    )
