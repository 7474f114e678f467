"""
One probe under way: a connection that turns events into a verdict.

By TCP an endpoint passes when it is connected and still open after 25 ms: Docker's port proxy
accepts before anyone listens, and closes within 0.4 ms.  What it says meanwhile does not matter.
By HTTP only the status line is read.  Nothing here waits: silence until `until` is an answer too.

Events are edge-triggered and the mask is never changed: one registration for each probe.
"""

import errno
import re
import select
import socket
import struct

from supervisor.core.model import Endpoint, HealthState
from supervisor.health.state import ProbeRecord, ProbeResult

#: How long a connection must stay open.
_OPEN = 0.025

#: What is read of an answer until its status line has come.
_LONGEST = 4096

_TYPE = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_BROKEN = select.EPOLLERR | select.EPOLLHUP
_NEWS = _BROKEN | select.EPOLLIN | select.EPOLLRDHUP

#: Forget the connection at once: nothing is left to wait in TIME_WAIT.
_AT_ONCE = struct.pack("ii", 1, 0)

#: Trouble of this machine, which says nothing about the endpoint.
_OURS = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,
        errno.EAGAIN,
    }
)

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_BEGINNING = b"HTTP/1."


class LocalError(Exception):
    """
    The probe could not be made; that is our own trouble and no verdict.
    """


class ProbeConnection:
    """
    The connection of one probe.

    `until` is the instant at which silence becomes the verdict.
    """

    __slots__ = ("_is_connected", "_ranges", "_received", "_request", "_socket", "number", "until")

    def __init__(
        self, endpoint: Endpoint, until: float, request: bytes, ranges: tuple[tuple[int, int], ...]
    ) -> None:
        """Open the connection; without a request it is a probe by TCP.  Raises OSError."""
        self.until = until
        self._request = request
        self._ranges = ranges
        self._received = b""
        self._is_connected = False
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        self._socket = socket.socket(family, _TYPE)
        failed = self._socket.connect_ex(endpoint)
        if failed not in {0, errno.EINPROGRESS}:
            self._socket.close()
            raise OSError(failed, "cannot connect")
        self.number = self._socket.fileno()

    def enter(self, epoll: select.epoll) -> None:
        """Have the events of this connection reported until it is closed.  Raises OursError."""
        try:
            epoll.register(self.number, _EVENTS)
        except OSError as error:
            self._socket.close()
            raise LocalError(error.strerror) from None

    def on_events(self, mask: int, now: float) -> ProbeResult | None:
        """Take in events: the verdict, if there is one by now.  Raises OursError."""
        if not self._is_connected:
            if mask & _BROKEN:
                return result_of_error(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            self._is_connected = True
            if not self._request:
                self.until = now + _OPEN
            elif not self._ask():
                return ProbeResult.FAILED
        if not self._request:
            return ProbeResult.FAILED if mask & (_BROKEN | select.EPOLLRDHUP) else None
        return self._read() if mask & _NEWS else None

    def on_timeout(self) -> ProbeResult:
        """Judge that nothing more was heard until the time was over."""
        passed = self._is_connected and not self._request
        return ProbeResult.PASSED if passed else ProbeResult.TIMED_OUT

    def close(self) -> None:
        """
        Let go of the connection.

        One that was only opened is ended and then reset: the server reads a plain end, and
        no side keeps it for a minute, which at 2,000 probes a second would fill tables.
        """
        if not self._request:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # there is no connection, or the other side was quicker
        self._socket.close()

    def _ask(self) -> bool:
        try:
            return self._socket.send(self._request) == len(self._request)
        except OSError:
            return False

    def _read(self) -> ProbeResult | None:
        while True:
            try:
                chunk = self._socket.recv(_LONGEST - len(self._received))
            except BlockingIOError:
                return None
            except OSError:
                return ProbeResult.FAILED
            self._received += chunk
            try:
                status = status_of(self._received)
            except ValueError:
                return ProbeResult.FAILED
            if status:
                fits = any(low <= status <= high for low, high in self._ranges)
                return ProbeResult.PASSED if fits else ProbeResult.FAILED
            if not chunk or len(self._received) >= _LONGEST:
                return ProbeResult.FAILED


def result_of_error(number: int) -> ProbeResult:
    """
    Judge why a connection failed.  Raises OursError.
    """
    if number in _OURS:
        raise LocalError(errno.errorcode[number])
    if number == errno.ECONNREFUSED:
        return ProbeResult.REFUSED
    return ProbeResult.TIMED_OUT if number == errno.ETIMEDOUT else ProbeResult.FAILED


def status_of(received: bytes) -> int | None:
    """
    Find the status of an answer, None where more must come; interim answers are passed over.

    Raises ValueError when it is no HTTP.
    """
    while True:
        if not _BEGINNING.startswith(received[: len(_BEGINNING)]):
            raise ValueError("no status line")
        connection = _STATUS.match(received)
        if not connection:
            if b"\n" in received:
                raise ValueError("no status line")
            return None
        status = int(connection[1])
        if status >= 200 or status == 101:
            return status
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return None
        received = received[end + 4 :]


class ProbeTarget:
    """
    An endpoint, what is known of it, when it is due, and the probe that is under way.

    `has_fast_slot` is one of the few places for brisk probes; `is_silent` marks a probe under way of
    an endpoint that was silent the last time.
    """

    __slots__ = (
        "connection",
        "due",
        "endpoint",
        "has_fast_slot",
        "health",
        "is_leaving",
        "is_silent",
    )

    def __init__(self, endpoint: Endpoint, health: ProbeRecord) -> None:
        self.endpoint = endpoint
        self.health = health
        self.due = 0.0
        self.connection: ProbeConnection | None = None
        self.has_fast_slot = False
        self.is_leaving = False
        self.is_silent = False

    @property
    def is_awaited(self) -> bool:
        """Whether somebody may be waiting for it to serve."""
        return self.has_fast_slot or self.health.health_state is HealthState.UNKNOWN

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong with it: it does not matter to the instant when it is asked."""
        is_ready = self.health.health_state is HealthState.READY
        return is_ready and not self.health.failures and not self.is_leaving
