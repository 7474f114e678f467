"""
All probes under way: how many there may be, what they hear, and when their time is over.

The selector is the kernel's own, without the layer of `selectors`, which costs 8 us for a probe.
An instant in the heap counts only as long as it is still the one that stands on its line.
"""

import math
import os
import resource
import select
import time
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count

from supervisor import __version__
from supervisor.core.config.settings import Settings
from supervisor.core.model import NEVER
from supervisor.health import state
from supervisor.health.probe import LocalError, ProbeConnection, ProbeTarget, result_of_error
from supervisor.health.state import ProbeResult

#: So many at once; half as many of endpoints that were silent the last time, each of which may
#: hold its line for the whole of HEALTH_TIMEOUT while others wait.
_LIMIT = 256

#: Instants of endpoints that nobody waits for fall on beats: a wake-up costs more than a probe.
_BEAT = 0.03

#: Having overslept by so much, we were stopped: the answers are there, and nobody was late.
_OVERSLEPT = 0.1


class ProbePool:
    """
    The lines that are open, by the number of their descriptor, and the bell that ends a wait.
    """

    def __init__(self, settings: Settings) -> None:
        self._timeout = settings.health_timeout
        self._ranges = settings.health_status
        self._path = (settings.health_path or "/") if settings.health_check == "http" else ""
        self._limit = _limit()
        self._wake_event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._wake_event, select.EPOLLIN)
        self._open: dict[int, ProbeTarget] = {}
        self._silent = 0
        self._sequence = count()
        self._until: list[tuple[float, int, ProbeConnection, ProbeTarget]] = []

    def wake(self) -> None:
        """End the wait, from any thread."""
        os.eventfd_write(self._wake_event, 1)

    @property
    def has_room(self) -> bool:
        """Whether one more may be opened."""
        return len(self._open) < self._limit

    def may_open(self, record: ProbeTarget) -> bool:
        """Tell whether one that may be silent again leaves room enough for the others."""
        return not state.is_silent(record.health) or self._silent * 2 < self._limit

    def open(self, record: ProbeTarget, now: float) -> ProbeResult | None:
        """Begin a probe: the verdict, if there is one at once.  Raises OursError."""
        request = b""
        if self._path:
            request = (
                f"GET {self._path} HTTP/1.1\r\nHost: {record.endpoint}\r\nConnection: close\r\n"
                f"User-Agent: autoexit-nginx/{__version__}\r\nAccept: */*\r\n\r\n"
            ).encode()
        try:
            connection = ProbeConnection(
                record.endpoint, now + self._timeout, request, self._ranges
            )
        except OSError as error:
            return result_of_error(error.errno or 0)
        connection.enter(self._epoll)
        record.connection = connection
        record.is_silent = state.is_silent(record.health)
        self._silent += record.is_silent
        self._open[connection.number] = record
        self._schedule_timeout(record, connection)
        return None

    def close(self, record: ProbeTarget) -> None:
        """End its probe, if there is one."""
        connection, record.connection = record.connection, None
        if connection:
            del self._open[connection.number]
            # Closing is not enough: while a child of ours is being born it holds the line too, and
            # until its exec the kernel would go on telling about a number that is free by then.
            self._epoll.unregister(connection.number)
            connection.close()
            self._silent -= record.is_silent

    def wait(self, wake_at: float) -> tuple[float, list[tuple[ProbeTarget, ProbeResult | None]]]:
        """
        Wait for news: the time by then, and all probes that ended, None for those that were ours.
        """
        if self._until:
            wake_at = min(wake_at, self._until[0][0])
        nap = -1.0 if wake_at == NEVER else max(0.0, wake_at - time.monotonic())
        events = self._epoll.poll(nap)
        now = time.monotonic()
        if not events and now > wake_at + _OVERSLEPT:
            events = self._epoll.poll(0.0)
        ended: list[tuple[ProbeTarget, ProbeResult | None]] = []
        for number, mask in events:
            if number == self._wake_event:
                os.eventfd_read(self._wake_event)
            else:
                ended.extend(self._on_events(self._open[number], mask, now))
        ended.extend(self._expired(now))
        return now, ended

    def _on_events(
        self, record: ProbeTarget, mask: int, now: float
    ) -> Iterator[tuple[ProbeTarget, ProbeResult | None]]:
        connection = record.connection
        assert connection is not None
        until = connection.until
        try:
            verdict = connection.on_events(mask, now)
        except LocalError:
            self.close(record)
            yield record, None
            return
        if verdict:
            self.close(record)
            yield record, verdict
        elif connection.until != until:
            self._schedule_timeout(record, connection)

    def _expired(self, now: float) -> Iterator[tuple[ProbeTarget, ProbeResult | None]]:
        while self._until and self._until[0][0] <= now:
            until, _, connection, record = heappop(self._until)
            if record.connection is connection and connection.until == until:
                self.close(record)
                yield record, connection.on_timeout()

    def _schedule_timeout(self, record: ProbeTarget, connection: ProbeConnection) -> None:
        connection.until = until = on_beat(record, connection.until)
        heappush(self._until, (until, next(self._sequence), connection, record))


def on_beat(record: ProbeTarget, instant: float, beat: float = _BEAT) -> float:
    """
    Put off to the next beat what nobody waits for.
    """
    if record.is_awaited:
        return instant
    return math.ceil(instant / beat) * beat


def _limit() -> int:
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if open_files == resource.RLIM_INFINITY:
        return _LIMIT
    return max(1, min(_LIMIT, open_files // 2))
