"""
HTTP transport to Nomad whose connection another thread can cancel.

A socket's timeout bounds one `recv`, not a response: a server that sends one byte a second would
block a client forever.  So the connection can be shut down from outside, by a timer or by a new
query.  The shutdown uses a duplicate of the descriptor: when TLS starts the original moves to
another object, and it may be closed, and its number reused, at the moment of the cancellation.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from supervisor.nomad.connection import Connector
from supervisor.nomad.errors import NomadError, no_thread_error


class CancellableTransport(HTTPAdapter):
    """
    A transport with one connection.

    `is_cancelled` returns whether a call that is about to connect has been cancelled already.
    """

    def __init__(self, connector: Connector, is_cancelled: Callable[[], bool]) -> None:
        self._connector = connector
        self._is_cancelled = is_cancelled
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._was_cancelled = False
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create pools whose connections can be cancelled."""
        super().init_poolmanager(*args, **kwargs)
        transport = self

        class Connection(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return transport._connector.connect(transport._attach)

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        self.poolmanager.pool_classes_by_scheme = {"http": Pool}

    def begin(self) -> None:
        """Allow a new call after a cancelled one."""
        self._was_cancelled = False

    def cancel(self) -> None:
        """Cancel the call in progress immediately, from any thread."""
        with self._lock:
            self._was_cancelled = True
            self._shut_down()

    def drop(self) -> None:
        """Close the connection after an error; the call may continue on another one."""
        with self._lock:
            self._shut_down()
        self._release()

    def _shut_down(self) -> None:
        if self._fd is not None:
            connection = socket.socket(fileno=self._fd)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.detach()

    def _attach(self, connection: socket.socket) -> None:
        self._release()
        with self._lock:
            self._fd = os.dup(connection.fileno())
            # A cancellation sets its flag first and looks for the descriptor then: one of the two
            # threads sees both.
            if self._was_cancelled or self._is_cancelled():
                raise NomadError("cancelled before it started")

    def _release(self) -> None:
        with self._lock:
            fd, self._fd = self._fd, None
            if fd is not None:
                os.close(fd)

    def close(self) -> None:
        """Release the descriptor and close the pools."""
        self._release()
        super().close()

    def __del__(self) -> None:
        self._release()


def session(transport: CancellableTransport) -> requests.Session:
    """
    Build a session over one transport that uses nothing from the environment.

    No proxy and no netrc is used; bodies are not compressed, so that no small response can expand
    into a large one.  Redirects are not followed, so the token is sent nowhere else, and no body is
    read before its length is checked: python-nomad ensures both for GET only.
    """
    made = requests.Session()
    made.trust_env = False
    made.stream = True
    made.get_redirect_target = lambda resp: None  # type: ignore[method-assign]  # noqa: ARG005
    made.headers["Accept-Encoding"] = "identity"
    for scheme in list(made.adapters):
        del made.adapters[scheme]
    made.mount("http://", transport)
    return made


class Watchdog:
    """
    Cancels a transport when a call exceeds its time limit, which covers the whole call.

    The response may take `head` seconds to start and `total` seconds to be complete.
    """

    def __init__(self, transport: CancellableTransport, head: float, total: float) -> None:
        self._transport = transport
        self._deadline = time.monotonic() + total
        self._timer = self._new_timer(head)
        self.expired = False

    def on_response_started(self) -> None:
        """Allow the rest of the response the remaining time.  Raises NomadError."""
        self._timer.cancel()
        self._timer = self._new_timer(max(0.0, self._deadline - time.monotonic()))
        self._start()

    def _new_timer(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        return timer

    def _start(self) -> None:
        """Start the timer.  Raises NomadError: without a time limit no request is sent."""
        try:
            self._timer.start()
        except RuntimeError:
            raise no_thread_error() from None

    def _expire(self) -> None:
        self.expired = True
        self._transport.cancel()

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
