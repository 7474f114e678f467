"""
A connection to Nomad: resolve the name, connect, do the TLS handshake, each step with a timeout.

Certificate files are read for every connection, so that renewed files count from the next
connection on; nothing is loaded where no TLS is used.
"""

import queue
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from supervisor.core.config.settings import Settings
from supervisor.nomad.errors import NomadError, tls_error


def secure(connection: socket.socket, settings: Settings, host: str) -> ssl.SSLSocket:
    """
    Make a TLS line of a connected one, which is given away.  Raises Unanswered.

    Whoever holds a duplicate of the line can cut it while hands are shaken.
    """
    name = settings.nomad_tls_server_name or host
    try:
        secured = _context(settings).wrap_socket(
            connection, server_hostname=name, do_handshake_on_connect=False
        )
    except ssl.SSLError as error:
        raise NomadError(f"cannot begin TLS ({error.reason})") from None
    except ValueError:  # a name that can stand in no certificate
        raise NomadError(f"cannot begin TLS with {name}: not a name") from None
    try:
        secured.do_handshake()
    except ssl.SSLError as error:
        secured.close()
        raise tls_error(error, name, has_certificate=bool(settings.nomad_client_cert)) from None
    except TimeoutError:  # over the whole handshake, however steadily it drips
        secured.close()
        raise NomadError("the TLS handshake was not over in time") from None
    except OSError:
        secured.close()
        raise
    return secured


def _context(settings: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.nomad_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.nomad_cacert or settings.nomad_capath:
        try:
            context.load_verify_locations(
                settings.nomad_cacert or None, settings.nomad_capath or None
            )
        except OSError as error:
            raise _unusable("NOMAD_CACERT", settings.nomad_cacert, error) from None
    else:
        context.load_default_certs()
    if settings.nomad_client_cert:
        try:
            # A key with a password must not make PID 1 ask a terminal for it.
            context.load_cert_chain(
                settings.nomad_client_cert, settings.nomad_client_key, password=""
            )
        except OSError as error:
            raise _unusable(
                "NOMAD_CLIENT_CERT and its key", settings.nomad_client_cert, error
            ) from None
    return context


def _unusable(variable: str, path: str, error: OSError) -> NomadError:
    told = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return NomadError(f"cannot use {variable} {path!r}: {told or type(error).__name__}")


#: For a name to be found, for one address to take the connection, for one step of a handshake.
_CONNECT_TIMEOUT = 3.0

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


class Connector:
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
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(_CONNECT_TIMEOUT)
                hold(connection)
                if family != socket.AF_UNIX:
                    for option in _KEEP_ALIVE:
                        connection.setsockopt(*option)
                connection.connect(address)
                return (
                    secure(connection, self._settings, self._host)
                    if self._is_secure
                    else connection
                )
            except OSError as error:
                connection.close()
                trouble = error
            except NomadError:
                connection.close()
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
            found = self._looking.get(timeout=_CONNECT_TIMEOUT)
        except queue.Empty:  # the thread goes on; the next question waits for its answer
            raise NomadError(f"the name {self._host} was not resolved in time") from None
        self._looking = None
        if isinstance(found, OSError):
            raise NomadError(f"the name {self._host} cannot be resolved")
        return found


def _look_up(host: str, port: int, flags: int = 0) -> _Found:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(entry[0], entry[4]) for entry in found]


def _unreached(error: OSError) -> NomadError:
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return NomadError("nobody listens at Nomad's address", refused=True)
    if isinstance(error, TimeoutError):
        return NomadError("Nomad's address does not answer")
    return NomadError(f"cannot connect to Nomad ({error.strerror or type(error).__name__})")
