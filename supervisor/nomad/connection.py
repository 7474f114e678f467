"""
A connection to Nomad: resolve the name, connect, do the TLS handshake, each step with a timeout.

Certificate files are read for every connection, so renewed files are used from the next connection
on; nothing is loaded if TLS is not used.
"""

import queue
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from supervisor.core.config.settings import Settings
from supervisor.nomad.errors import NomadError, no_thread_error, tls_error


def secure(connection: socket.socket, settings: Settings, host: str) -> ssl.SSLSocket:
    """
    Start TLS on a connected socket, which must not be used afterwards.  Raises NomadError.

    A thread with a duplicate of the descriptor can shut the connection down during the handshake.
    """
    name = settings.nomad_tls_server_name or host
    try:
        secured = _context(settings).wrap_socket(
            connection, server_hostname=name, do_handshake_on_connect=False
        )
    except ssl.SSLError as error:
        raise NomadError(f"cannot start TLS ({error.reason})") from None
    except ValueError:  # not a name that a certificate can contain
        raise NomadError(f"cannot start TLS: invalid server name {name!r}") from None
    try:
        secured.do_handshake()
    except ssl.SSLError as error:
        secured.close()
        raise tls_error(error, name, has_certificate=bool(settings.nomad_client_cert)) from None
    except TimeoutError:  # the limit covers the whole handshake, even with steady progress
        secured.close()
        raise NomadError("the TLS handshake timed out") from None
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
            raise _certificate_error("NOMAD_CACERT", settings.nomad_cacert, error) from None
    else:
        context.load_default_certs()
    if settings.nomad_client_cert:
        try:
            # Without a password given, OpenSSL would prompt on the terminal for an encrypted key.
            context.load_cert_chain(
                settings.nomad_client_cert, settings.nomad_client_key, password=""
            )
        except OSError as error:
            raise _certificate_error(
                "NOMAD_CLIENT_CERT and its key", settings.nomad_client_cert, error
            ) from None
    return context


def _certificate_error(variable: str, path: str, error: OSError) -> NomadError:
    detail = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return NomadError(f"cannot use {variable} {path!r}: {detail or type(error).__name__}")


#: Limit for resolving the name, for connecting to one address, and for the handshake, in seconds.
_CONNECT_TIMEOUT = 3.0

_NO_AGENT = (
    "set NOMAD_ADDR to the agent's address (in a container 127.0.0.1 is the container itself), or"
    " add an `identity` block to the task"
)

#: A host that is gone closes no connection.  The kernel probes after 5 s of silence and gives up
#: after 11 s, so a blocking query does not wait on a dead connection.
_KEEP_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 11_000),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)

_Addresses = list[tuple[Any, ...]]


class Connector:
    """
    Nomad's address, and how to connect to it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        parts = urlsplit(settings.nomad_addr)
        self._is_socket = parts.scheme == "unix"
        self._is_secure = parts.scheme == "https"
        self._path = parts.path
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._is_secure else 80)
        self._lookup: queue.SimpleQueue[_Addresses | OSError] | None = None
        host = f"[{self._host}]" if ":" in self._host else self._host
        #: The base URL for python-nomad.  The scheme is always http: this class does the TLS.
        self.address = "http://localhost" if self._is_socket else f"http://{host}:{self._port}"
        #: The address in error messages, without any user name or password.
        self.shown = (
            f"unix://{parts.path}" if self._is_socket else f"{parts.scheme}://{host}:{self._port}"
        )

    def connect(self, attach: Callable[[socket.socket], None]) -> socket.socket:
        """
        Return a connected socket; `attach` gets each socket before it can block.

        Raises NomadError.
        """
        last_error = OSError()
        for family, address in self._addresses():
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(_CONNECT_TIMEOUT)
                attach(connection)
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
                last_error = error
            except NomadError:
                connection.close()
                raise
        raise self._connect_error(last_error)

    def _addresses(self) -> _Addresses:
        if self._is_socket:
            return [(socket.AF_UNIX, self._path)]
        try:
            found = _getaddrinfo(self._host, self._port, socket.AI_NUMERICHOST)
        except OSError:
            found = self._resolved()
        return found

    def _resolved(self) -> _Addresses:
        """Resolve the name in a thread of its own, since a slow resolver cannot be cancelled."""
        if self._lookup is None:
            lookup: queue.SimpleQueue[_Addresses | OSError] = queue.SimpleQueue()
            host, port = self._host, self._port

            def resolve() -> None:
                try:
                    lookup.put(_getaddrinfo(host, port))
                except (OSError, UnicodeError) as error:
                    lookup.put(OSError(str(error)))

            try:
                threading.Thread(target=resolve, name="resolver", daemon=True).start()
            except RuntimeError:
                raise no_thread_error() from None
            self._lookup = lookup
        try:
            found = self._lookup.get(timeout=_CONNECT_TIMEOUT)
        except queue.Empty:  # the thread continues; the next request waits for its result
            raise NomadError(
                f"timed out resolving the name {self._host} of NOMAD_ADDR={self.shown}"
            ) from None
        self._lookup = None
        if isinstance(found, OSError):
            raise NomadError(f"cannot resolve the name {self._host} of NOMAD_ADDR={self.shown}")
        return found

    def _connect_error(self, error: OSError) -> NomadError:
        if isinstance(error, FileNotFoundError):
            return NomadError(
                f"cannot connect to Nomad: NOMAD_ADDR={self.shown} has no socket", refused=True
            )
        if isinstance(error, ConnectionRefusedError):
            return NomadError(
                f"connection to Nomad at {self.shown} refused: nothing listens there (NOMAD_ADDR)",
                refused=True,
                step=_NO_AGENT,
            )
        if isinstance(error, TimeoutError):
            return NomadError(f"connection to Nomad at {self.shown} timed out (NOMAD_ADDR)")
        detail = error.strerror or type(error).__name__
        return NomadError(f"cannot connect to Nomad at {self.shown} ({detail})")


def _getaddrinfo(host: str, port: int, flags: int = 0) -> _Addresses:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(entry[0], entry[4]) for entry in found]
