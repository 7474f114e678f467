"""
A line to Nomad: a name looked up, a socket connected, hands shaken, each with an end to the wait.
"""

import queue
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from supervisor.client.tls import secure
from supervisor.client.trouble import Unanswered
from supervisor.settings import Settings

#: For a name to be found, for one address to take the connection, for one step of a handshake.
_PATIENCE = 3.0

#: A host that is gone says nothing.  The kernel asks after 5 s of silence and gives up in 11 s, so
#: that a query which waits for a change does not wait for it on a dead line.
_KEEP_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 11_000),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)

_Found = list[tuple[Any, ...]]


class Place:
    """
    Where Nomad answers, and how a line is brought there.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        parts = urlsplit(settings.nomad_addr)
        self._is_socket = parts.scheme == "unix"
        self._is_secure = parts.scheme == "https"
        self._path = parts.path
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._is_secure else 80)
        self._looking: queue.SimpleQueue[_Found | OSError] | None = None
        shown = f"[{self._host}]" if ":" in self._host else self._host
        #: What python-nomad asks.  The scheme is always http: the line below it is ours.
        self.address = "http://localhost" if self._is_socket else f"http://{shown}:{self._port}"

    def connect(self, hold: Callable[[socket.socket], None]) -> socket.socket:
        """
        Return a connected line; `hold` gets every socket before it can block.  Raises Unanswered.
        """
        trouble = OSError()
        for family, address in self._addresses():
            line = socket.socket(family, socket.SOCK_STREAM)
            try:
                line.settimeout(_PATIENCE)
                hold(line)
                if family != socket.AF_UNIX:
                    for option in _KEEP_ALIVE:
                        line.setsockopt(*option)
                line.connect(address)
                return secure(line, self._settings, self._host) if self._is_secure else line
            except OSError as error:
                line.close()
                trouble = error
            except Unanswered:
                line.close()
                raise
        raise _unreached(trouble)

    def _addresses(self) -> _Found:
        if self._is_socket:
            return [(socket.AF_UNIX, self._path)]
        try:
            found = _look_up(self._host, self._port, socket.AI_NUMERICHOST)
        except OSError:
            found = self._resolved()
        return found

    def _resolved(self) -> _Found:
        """Look the name up in a thread of its own, since nothing else can end a slow resolver."""
        if self._looking is None:
            looking = self._looking = queue.SimpleQueue()
            host, port = self._host, self._port

            def look() -> None:
                try:
                    looking.put(_look_up(host, port))
                except (OSError, UnicodeError) as error:
                    looking.put(OSError(str(error)))

            threading.Thread(target=look, name="resolver", daemon=True).start()
        try:
            found = self._looking.get(timeout=_PATIENCE)
        except queue.Empty:  # the thread goes on; the next question waits for its answer
            raise Unanswered(f"the name {self._host} was not resolved in time") from None
        self._looking = None
        if isinstance(found, OSError):
            raise Unanswered(f"the name {self._host} cannot be resolved")
        return found


def _look_up(host: str, port: int, flags: int = 0) -> _Found:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(entry[0], entry[4]) for entry in found]


def _unreached(error: OSError) -> Unanswered:
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return Unanswered("nobody listens at Nomad's address", refused=True)
    if isinstance(error, TimeoutError):
        return Unanswered("Nomad's address does not answer")
    return Unanswered(f"cannot connect to Nomad ({error.strerror or type(error).__name__})")
