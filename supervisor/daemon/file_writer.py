"""
Everything that is written to disk, by one thread, in the order it was asked for.

A slow disk delays the clerk and nobody else; each errand is answered by an event.
"""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from supervisor.core.commands import (
    Discard,
    MarkLastGood,
    Restore,
    SaveCache,
    SaveState,
    Stage,
    Swap,
)
from supervisor.core.events import Event, Staged, StageFailed, StateSaved, SwapFailed, Swapped
from supervisor.discovery.cache import EndpointCache
from supervisor.nginx.config_store import ConfigStore
from supervisor.system.state_file import save_ended, save_record

Errand = Stage | Swap | Restore | Discard | MarkLastGood | SaveCache | SaveState


class FileWriter:
    """
    The thread that writes.
    """

    def __init__(
        self,
        config_store: ConfigStore,
        caches: EndpointCache,
        state_dir: Path,
        post: Callable[[Event], None],
    ) -> None:
        self._configs = config_store
        self._memories = caches
        self._state_dir = state_dir
        self._post = post
        self._errands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def start(self) -> None:
        """Start to work."""
        threading.Thread(target=self._work, name="clerk", daemon=True).start()

    def submit(self, errand: Errand) -> None:
        """Queue an errand."""
        self._errands.put(lambda: self._do(errand))

    def finish(self, ended: dict[str, object], within: float) -> None:
        """Write why it ended after all that is queued, waiting at most `within` seconds."""
        done = threading.Event()

        def write() -> None:
            save_ended(self._state_dir, ended)
            done.set()

        self._errands.put(write)
        done.wait(within)

    def _work(self) -> None:
        while True:
            self._errands.get()()

    def _do(self, errand: Errand) -> None:
        match errand:
            case Stage(attempt, plan, rotation, reread_operator_files):
                try:
                    bundle, intact = self._configs.stage(
                        attempt, plan, rotation, reread_operator_files=reread_operator_files
                    )
                except Exception as error:  # noqa: BLE001 - a template may fail in any way; all is undone
                    self._post(
                        StageFailed(attempt, f"cannot stage the configuration: {_text(error)}")
                    )
                else:
                    self._post(Staged(attempt, bundle.digest, bundle.generation, intact))
            case Swap(attempt):
                self._attempt(attempt, lambda: self._configs.swap(attempt))
            case Restore(live):
                self._attempt(live.attempt, self._configs.restore)
            case MarkLastGood(live):
                self._configs.keep(live.attempt)
            case Discard(attempt):
                self._configs.discard(attempt)
            case SaveCache(caches):
                with suppress(OSError):  # where no configuration can be written, that is told
                    self._memories.save(caches)
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

    def _attempt(self, attempt: int, act: Callable[[], None]) -> None:
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
