"""
Host names, resolved in threads of their own.

A name server that does not respond blocks a lookup for ten seconds and more, and a lookup cannot be
cancelled.  So nobody waits for one longer than is useful: its result is used when it arrives, and a
name that cannot be resolved keeps its previous addresses.
"""

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable

#: How many names are looked up at the same time.
_MAX_LOOKUPS = 8


class Resolver:
    """
    The addresses of names; `on_change` is called from a thread when those of a name have changed.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._changed = threading.Condition()
        self._addresses: dict[str, list[str]] = {}
        self._queue: deque[str] = deque()
        self._pending: set[str] = set()
        self._looked_up: set[str] = set()
        self._threads = 0

    def refresh(self, names: Iterable[str]) -> None:
        """Look these up again, except those whose lookup has not ended."""
        with self._changed:
            for name in names:
                if name not in self._pending:
                    self._pending.add(name)
                    self._queue.append(name)
            while self._threads < min(_MAX_LOOKUPS, len(self._pending)):
                try:
                    threading.Thread(target=self._work, name="resolver", daemon=True).start()
                except RuntimeError:  # no thread is left: the previous addresses stay
                    break
                self._threads += 1
            if not self._threads:
                self._pending.clear()
                self._queue.clear()

    def wait(self, names: Iterable[str], within: float) -> None:
        """Wait until each of these has been looked up once, at most `within` seconds."""
        wanted = set(names)
        with self._changed:
            self._changed.wait_for(
                lambda: not (wanted & self._pending) - self._looked_up, timeout=within
            )

    def addresses(self, name: str) -> list[str]:
        """Return the last known addresses of a name."""
        with self._changed:
            return self._addresses.get(name, [])

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._queue:
                    self._threads -= 1
                    return
                name = self._queue.popleft()
            found = _lookup(name)
            with self._changed:
                is_changed = bool(found) and found != self._addresses.get(name)
                if found:
                    self._addresses[name] = found
                self._pending.discard(name)
                self._looked_up.add(name)
                self._changed.notify_all()
            if is_changed:
                self._on_change()


def _lookup(name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return sorted({str(entry[4][0]) for entry in found})
