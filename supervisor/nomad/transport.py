"""
The wire to Nomad: HTTP over a line that another thread can cut.

A socket's timeout bounds one `recv` and not an answer: a server that drips a byte a second holds a
client for ever.  So the line can be cut from outside, by a timer or by whoever wants to ask anew.
What is cut is a duplicate of our own: the socket itself changes hands when TLS begins, and may be
closed, and its number given to another file, at the very moment somebody wants to end it.
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
from supervisor.nomad.errors import NomadError


class CancellableTransport(HTTPAdapter):
    """
    A transport with one connection.

    `is_unwanted` tells whether a call that is about to connect was cut before it could be.
    """

    def __init__(self, place: Connector, is_unwanted: Callable[[], bool]) -> None:
        self._place = place
        self._is_unwanted = is_unwanted
        self._lock = threading.Lock()
        self._held: int | None = None
        self._is_cut = False
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make pools whose connections let go of their socket when they are told to."""
        super().init_poolmanager(*args, **kwargs)
        wire = self

        class Connection(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return wire._place.connect(wire._hold)

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        self.poolmanager.pool_classes_by_scheme = {"http": Pool}

    def begin(self) -> None:
        """Let a call follow one that was cut."""
        self._is_cut = False

    def cancel(self) -> None:
        """End the call under way at once, from any thread."""
        with self._lock:
            self._is_cut = True
            self._shut()

    def drop(self) -> None:
        """Forget the line, of which nothing more will come; the call may go on with another."""
        with self._lock:
            self._shut()
        self._release()

    def _shut(self) -> None:
        if self._held is not None:
            connection = socket.socket(fileno=self._held)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.detach()

    def _hold(self, connection: socket.socket) -> None:
        self._release()
        with self._lock:
            self._held = os.dup(connection.fileno())
            # Who cuts sets the wish first and looks for the line then: one of us sees both.
            if self._is_cut or self._is_unwanted():
                raise NomadError("cut before it began")

    def _release(self) -> None:
        with self._lock:
            held, self._held = self._held, None
            if held is not None:
                os.close(held)

    def close(self) -> None:
        """Let go of everything."""
        self._release()
        super().close()

    def __del__(self) -> None:
        self._release()


def session(wire: CancellableTransport) -> requests.Session:
    """
    Build a session that speaks over one wire and takes nothing from the environment.

    No proxy is asked, no netrc read; bodies come as they are, so that no small answer can grow
    into a large one.  Nobody is followed elsewhere with our token, and no body is read before its
    length is watched: python-nomad sees to both for GET only.
    """
    made = requests.Session()
    made.trust_env = False
    made.stream = True
    made.get_redirect_target = lambda resp: None  # type: ignore[method-assign]  # noqa: ARG005
    made.headers["Accept-Encoding"] = "identity"
    for scheme in list(made.adapters):
        del made.adapters[scheme]
    made.mount("http://", wire)
    return made


class Watchdog:
    """
    Cuts a wire when a call takes longer than it may, all of it together.

    It may take `head` seconds to begin its answer, and `whole` seconds to have it whole.
    """

    def __init__(self, wire: CancellableTransport, head: float, whole: float) -> None:
        self._wire = wire
        self._until = time.monotonic() + whole
        self._timer = self._set(head)
        self.rang = False

    def heard(self) -> None:
        """An answer has begun: the rest of it may take what is left."""
        self._timer.cancel()
        self._timer = self._set(max(0.0, self._until - time.monotonic()))
        self._timer.start()

    def _set(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._ring)
        timer.daemon = True
        return timer

    def _ring(self) -> None:
        self.rang = True
        self._wire.cancel()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
