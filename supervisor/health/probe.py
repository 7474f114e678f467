"""
One probe in progress: a connection that turns events into a result.

A TCP probe passes when the connection is established and still open after 25 ms: Docker's port
proxy accepts before the container listens, and closes within 0.4 ms.  Data that the server sends is
ignored.  An HTTP probe reads only the status line.  Nothing blocks: the timeout is a result too.

Events are edge-triggered and the mask is never changed: one registration for each probe.
"""

import errno
import os
import re
import select
import socket
import struct

from supervisor.core import probe_outcome
from supervisor.core.model import NEVER, Endpoint, HealthState
from supervisor.core.probe_outcome import Outcome, OutcomeKind
from supervisor.health.state import ProbeRecord

#: How long a TCP connection must stay open, in seconds.
_MIN_OPEN = 0.025

#: How much of a response is read to find its status line, in bytes.
_MAX_HEAD = 4096

_TYPE = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_BROKEN = select.EPOLLERR | select.EPOLLHUP
_READABLE = _BROKEN | select.EPOLLIN | select.EPOLLRDHUP

#: SO_LINGER with 0 s: close resets the connection, so none stays in TIME_WAIT.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

#: Errors of this machine, which are not results for the endpoint.
_LOCAL_ERRORS = frozenset(
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
_STATUS_PREFIX = b"HTTP/1."

#: The beginning of a TLS record: an alert or a handshake, in any version.
_TLS_RECORD = re.compile(rb"[\x15\x16]\x03[\x00-\x04]")

#: How nginx and Go servers answer to HTTP on a port for TLS, with status 400.
_TLS_REQUIRED = re.compile(rb"sent to HTTPS port|HTTP request to an HTTPS server")


class LocalError(Exception):
    """
    The probe failed because of this machine, so it has no result.
    """


class ProbeConnection:
    """
    The connection of one probe.

    `timeout_at`: when the probe ends without further events.
    """

    __slots__ = (
        "_connected_at",
        "_ranges",
        "_received",
        "_request",
        "_socket",
        "_timeout",
        "fd",
        "timeout_at",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        now: float,
        timeout: float,
        request: bytes,
        ranges: tuple[tuple[int, int], ...],
    ) -> None:
        """Open the connection; without a request it is a TCP probe.  Raises OSError."""
        self.timeout_at = now + timeout
        self._timeout = timeout
        self._request = request
        self._ranges = ranges
        self._received = b""
        self._connected_at = NEVER
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        self._socket = socket.socket(family, _TYPE)
        number = self._socket.connect_ex(endpoint)
        if number not in {0, errno.EINPROGRESS}:
            self._socket.close()
            raise OSError(number, "cannot connect")
        self.fd = self._socket.fileno()

    def register(self, epoll: select.epoll) -> None:
        """Register for events until the connection is closed.  Raises LocalError."""
        try:
            epoll.register(self.fd, _EVENTS)
        except OSError as error:
            self._socket.close()
            raise LocalError(error.strerror) from None

    def on_events(self, mask: int, now: float) -> Outcome | None:
        """Process events; return the outcome if the probe has ended.  Raises LocalError."""
        if self._connected_at == NEVER:
            # A connection that was accepted and reset in one step is broken without an error.
            number = (
                self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if mask & _BROKEN else 0
            )
            if number:
                return outcome_of_error(number, self._timeout)
            self._connected_at = now
            if not self._request:
                self.timeout_at = now + _MIN_OPEN
            elif not self._send_request():
                return self._closed(now)
        if not self._request:
            return self._closed(now) if mask & (_BROKEN | select.EPOLLRDHUP) else None
        return self._read(now) if mask & _READABLE else None

    def on_timeout(self) -> Outcome:
        """Return the outcome after the timeout."""
        is_connected = self._connected_at != NEVER
        if is_connected and not self._request:
            return probe_outcome.PASSED
        return probe_outcome.timed_out(self._timeout, is_connected=is_connected)

    def close(self) -> None:
        """
        Close the connection.

        A TCP probe is shut down and then reset: the server reads a normal end, and neither side
        keeps the connection for a minute, which at 2,000 probes a second would fill tables.
        """
        if not self._request:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # not connected, or already closed by the peer
        self._socket.close()

    def _send_request(self) -> bool:
        try:
            return self._socket.send(self._request) == len(self._request)
        except OSError:
            return False

    def _closed(self, now: float) -> Outcome:
        return probe_outcome.closed(round((now - self._connected_at) * 1000))

    def _read(self, now: float) -> Outcome | None:
        while True:
            try:
                chunk = self._socket.recv(_MAX_HEAD - len(self._received))
            except BlockingIOError:
                return None
            except OSError:
                return self._closed(now)
            self._received += chunk
            try:
                status = status_of(self._received)
            except ValueError:
                is_tls = _TLS_RECORD.match(self._received)
                return probe_outcome.TLS if is_tls else probe_outcome.NOT_HTTP
            if status:
                is_good = any(low <= status <= high for low, high in self._ranges)
                if not is_good and _TLS_REQUIRED.search(self._received):
                    return probe_outcome.TLS
                return probe_outcome.responded(status, is_accepted=is_good)
            if not chunk:
                return self._closed(now)
            if len(self._received) >= _MAX_HEAD:
                return probe_outcome.NOT_HTTP


def outcome_of_error(number: int, timeout: float) -> Outcome:
    """
    Return the outcome for the errno of a failed connection.  Raises LocalError.
    """
    if number in _LOCAL_ERRORS:
        raise LocalError(errno.errorcode[number])
    if number == errno.ECONNREFUSED:
        return probe_outcome.REFUSED
    if number == errno.ECONNRESET:  # after it was accepted; a SYN is refused, not reset
        return probe_outcome.closed(0)
    if number == errno.ETIMEDOUT:
        return probe_outcome.timed_out(timeout, is_connected=False)
    return probe_outcome.of_text(OutcomeKind.FAILED, os.strerror(number).lower())


def status_of(received: bytes) -> int | None:
    """
    Return the status of a response, None if it is incomplete; interim responses are skipped.

    Raises ValueError if it is not HTTP.
    """
    while True:
        if not _STATUS_PREFIX.startswith(received[: len(_STATUS_PREFIX)]):
            raise ValueError("no status line")
        match = _STATUS.match(received)
        if not match:
            if b"\n" in received:
                raise ValueError("no status line")
            return None
        status = int(match[1])
        if status >= 200 or status == 101:
            return status
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return None
        received = received[end + 4 :]


class ProbeTarget:
    """
    An endpoint, its health, when its next probe is due, and its probe in progress.

    `has_fast_slot`: it is probed at the fast interval.  `may_time_out`: the probe in progress is of
    an endpoint that timed out the last time.  `started_at`: when its last probe began.
    `suspected_at`: when nginx last failed to connect to it, `-NEVER` if a probe has passed since.
    `outcome`: of its last probe, which ended at `ended_at`.
    """

    __slots__ = (
        "connection",
        "due",
        "ended_at",
        "endpoint",
        "has_fast_slot",
        "health",
        "is_leaving",
        "may_time_out",
        "outcome",
        "started_at",
        "suspected_at",
    )

    def __init__(self, endpoint: Endpoint, health: ProbeRecord) -> None:
        self.endpoint = endpoint
        self.health = health
        self.due = 0.0
        self.connection: ProbeConnection | None = None
        self.has_fast_slot = False
        self.is_leaving = False
        self.may_time_out = False
        self.started_at = -NEVER
        self.suspected_at = -NEVER
        self.outcome: Outcome | None = None
        self.ended_at = -NEVER

    @property
    def is_suspected(self) -> bool:
        """Whether nginx could not connect to it, and no later probe has decided yet."""
        return self.suspected_at != -NEVER

    @property
    def is_urgent(self) -> bool:
        """Whether traffic may be waiting for it to become ready, or to be removed."""
        is_unknown = self.health.health_state is HealthState.UNKNOWN
        return self.has_fast_slot or is_unknown or self.is_suspected

    @property
    def is_stable(self) -> bool:
        """Whether it is ready without failures, so that its next probe may be delayed."""
        is_ready = self.health.health_state is HealthState.READY
        is_doubtful = self.health.failures or self.is_leaving or self.is_suspected
        return is_ready and not is_doubtful
