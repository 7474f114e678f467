"""
All probes in progress: their limit, their events and their timeouts.

Uses epoll directly, without the layer of `selectors`, which costs 8 us per probe.  A timeout in the
heap is valid only while it equals the one of its connection.
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
from supervisor.core.probe_outcome import Outcome
from supervisor.health import state
from supervisor.health.probe import LocalError, ProbeConnection, ProbeTarget, outcome_of_error

#: The most probes at once; half as many for endpoints that timed out the last time, each of which
#: may occupy its connection for the whole of HEALTH_TIMEOUT while others wait.
_MAX_PROBES = 256

#: Times that are not urgent are rounded up to a multiple of this, in seconds, so that probes share
#: wake-ups: a wake-up costs more than a probe.
_ALIGNMENT = 0.03

#: After a wait that was longer than requested by this much, in seconds, the process was suspended:
#: events are pending, and no endpoint was late.
_SUSPENDED_AFTER = 0.1


class ProbePool:
    """
    The open connections, by file descriptor, and the event that ends a wait.
    """

    def __init__(self, settings: Settings) -> None:
        self._timeout = settings.health_timeout
        self._ranges = settings.health_status
        self._path = (settings.health_path or "/") if settings.health_check == "http" else ""
        self._host = settings.health_host
        self._limit = _limit()
        self._wake_event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._wake_event, select.EPOLLIN)
        self._by_fd: dict[int, ProbeTarget] = {}
        self._slow_probes = 0
        self._sequence = count()
        self._timeouts: list[tuple[float, int, ProbeConnection, ProbeTarget]] = []

    def wake(self) -> None:
        """End the wait, from any thread."""
        os.eventfd_write(self._wake_event, 1)

    @property
    def has_capacity(self) -> bool:
        """Whether one more probe may be started."""
        return len(self._by_fd) < self._limit

    def may_open(self, target: ProbeTarget) -> bool:
        """Return whether a probe that may time out again leaves enough capacity for the others."""
        return not state.only_times_out(target.health) or self._slow_probes * 2 < self._limit

    def open(self, target: ProbeTarget, now: float) -> Outcome | None:
        """Start a probe; return the outcome if it ended immediately.  Raises LocalError."""
        request = b""
        if self._path:
            request = (
                f"GET {self._path} HTTP/1.1\r\nHost: {self._host or target.endpoint}\r\n"
                "Connection: close\r\n"
                f"User-Agent: autoexit-nginx/{__version__}\r\nAccept: */*\r\n\r\n"
            ).encode()
        try:
            connection = ProbeConnection(target.endpoint, now, self._timeout, request, self._ranges)
        except OSError as error:
            return outcome_of_error(error.errno or 0, self._timeout)
        connection.register(self._epoll)
        target.connection = connection
        target.may_time_out = state.only_times_out(target.health)
        self._slow_probes += target.may_time_out
        self._by_fd[connection.fd] = target
        self._schedule_timeout(target, connection)
        return None

    def close(self, target: ProbeTarget) -> None:
        """End its probe, if one is in progress."""
        connection, target.connection = target.connection, None
        if connection:
            del self._by_fd[connection.fd]
            # Closing is not enough: between a fork and its exec the child holds a copy, and the
            # kernel would continue to report events for a descriptor that is free by then.
            self._epoll.unregister(connection.fd)
            connection.close()
            self._slow_probes -= target.may_time_out

    def wait(self, wake_at: float) -> tuple[float, list[tuple[ProbeTarget, Outcome | None]]]:
        """
        Wait for events; return the time and the ended probes, with None after a local error.
        """
        if self._timeouts:
            wake_at = min(wake_at, self._timeouts[0][0])
        timeout = -1.0 if wake_at == NEVER else max(0.0, wake_at - time.monotonic())
        events = self._epoll.poll(timeout)
        now = time.monotonic()
        if not events and now > wake_at + _SUSPENDED_AFTER:
            events = self._epoll.poll(0.0)
        ended: list[tuple[ProbeTarget, Outcome | None]] = []
        for fd, mask in events:
            if fd == self._wake_event:
                os.eventfd_read(self._wake_event)
            else:
                ended.extend(self._on_events(self._by_fd[fd], mask, now))
        ended.extend(self._expired(now))
        return now, ended

    def _on_events(
        self, target: ProbeTarget, mask: int, now: float
    ) -> Iterator[tuple[ProbeTarget, Outcome | None]]:
        connection = target.connection
        assert connection is not None
        timeout_at = connection.timeout_at
        try:
            outcome = connection.on_events(mask, now)
        except LocalError:
            self.close(target)
            yield target, None
            return
        if outcome:
            self.close(target)
            yield target, outcome
        elif connection.timeout_at != timeout_at:
            self._schedule_timeout(target, connection)

    def _expired(self, now: float) -> Iterator[tuple[ProbeTarget, Outcome | None]]:
        while self._timeouts and self._timeouts[0][0] <= now:
            timeout_at, _, connection, target = heappop(self._timeouts)
            if target.connection is connection and connection.timeout_at == timeout_at:
                self.close(target)
                yield target, connection.on_timeout()

    def _schedule_timeout(self, target: ProbeTarget, connection: ProbeConnection) -> None:
        connection.timeout_at = timeout_at = align(target, connection.timeout_at)
        heappush(self._timeouts, (timeout_at, next(self._sequence), connection, target))


def align(target: ProbeTarget, instant: float, alignment: float = _ALIGNMENT) -> float:
    """
    Round a time up to a multiple of `alignment`, unless the target is urgent.
    """
    if target.is_urgent:
        return instant
    return math.ceil(instant / alignment) * alignment


def _limit() -> int:
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if open_files == resource.RLIM_INFINITY:
        return _MAX_PROBES
    return max(1, min(_MAX_PROBES, open_files // 2))
