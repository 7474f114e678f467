"""
The line to a registry: HTTP over TCP or a unix socket, which another thread can cut.

A socket's timeout bounds one `recv` and not an answer: a server that drips a byte a second holds a
client for ever.  So the line can be cut from outside, by a timer or by whoever wants to ask anew.
"""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import NewConnectionError

_CONNECT_TIMEOUT = 3.0


class Wire(HTTPAdapter):
    """
    A transport with one connection, to a TCP address or, with a path, to a unix socket.

    `is_unwanted` tells whether a call that has just connected was cut before it could be.
    """

    def __init__(self, path: str = "", is_unwanted: Callable[[], bool] = lambda: False) -> None:
        self._socket: socket.socket | None = None
        self._path = path
        self._is_unwanted = is_unwanted
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make pools whose connections let go of their socket when they are told to."""
        super().init_poolmanager(*args, **kwargs)
        wire = self

        class Connection(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                line = _connect(wire._path) if wire._path else super()._new_conn()
                wire._socket = line
                # Who cuts sets the wish first and looks for the socket then: one of us sees both.
                if wire._is_unwanted():
                    line.close()
                    raise NewConnectionError(self, "cut before it began")
                return line

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        self.poolmanager.pool_classes_by_scheme = {"http": Pool}

    def cut(self) -> None:
        """End the call under way at once, from any thread."""
        line = self._socket
        if line is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


def _connect(path: str) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.settimeout(_CONNECT_TIMEOUT)
        line.connect(path)
    except OSError:
        line.close()
        raise
    return line


def session(wire: Wire) -> requests.Session:
    """
    Build a session that speaks over one wire and takes nothing from the environment.

    No proxy is asked, no netrc read; bodies come as they are, so that no small answer can grow
    into a large one.
    """
    made = requests.Session()
    made.trust_env = False
    made.headers["Accept-Encoding"] = "identity"
    made.mount("http://", wire)
    return made


class Alarm:
    """
    Cuts a wire when a call takes longer than it may, all of it together.
    """

    def __init__(self, wire: Wire, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._ring)
        self._timer.daemon = True
        self._wire = wire
        self.rang = False

    def _ring(self) -> None:
        self.rang = True
        self._wire.cut()

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
