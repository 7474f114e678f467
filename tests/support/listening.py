"""
A listening socket that can close and open again at the same address.

Servers of the standard library take up to half a second to stop and keep their connections; the
tests need a server that is gone at once, as a killed one.  It may use TLS, with a certificate
that can change for each connection.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.waiting import free_port

Address = tuple[str, int] | Path


class Listener:
    """
    Accepts on a TCP address or a unix socket and serves each connection in a thread.
    """

    def __init__(
        self,
        address: Address,
        serve: Callable[[socket.socket], None],
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self.address = address
        self._tls = tls  # called for each connection, so that the certificate can change
        self._serve = serve
        self._lock = threading.Lock()
        self._listening: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._connections: set[socket.socket] = set()

    @property
    def connections(self) -> int:
        """
        The number of open connections.
        """
        return len(self._connections)

    def open(self) -> None:
        """
        Listen; a port chosen the first time is kept for later calls.
        """
        if self._listening is not None:
            return
        listening = self._bound()
        listening.listen(1024)
        self._listening = listening
        self._acceptor = threading.Thread(target=self._accept, args=(listening,), daemon=True)
        self._acceptor.start()

    def close(self, *, cut: bool = True, leave_file: bool = False) -> None:
        """
        Refuse connections; `cut` ends open ones too, as the death of a process does.

        `leave_file` keeps a unix socket's file, as after kill -9.
        """
        listening, self._listening = self._listening, None
        if listening is not None:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)  # wakes accept()
            listening.close()
            if self._acceptor is not None:
                self._acceptor.join()
            if isinstance(self.address, Path) and not leave_file:
                self.address.unlink(missing_ok=True)
        if cut:
            with self._lock:
                for connection in self._connections:
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _bound(self) -> socket.socket:
        if isinstance(self.address, Path):
            self.address.unlink(missing_ok=True)
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(self.address))
            return listening
        family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self.address[0], self.address[1] or free_port()))
        except OSError:
            listening.close()
            raise
        self.address = (self.address[0], listening.getsockname()[1])
        return listening

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            if self._tls is not None:
                connection = self._tls().wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
            with self._lock:
                self._connections.add(connection)
            if self._listening is not listening:  # closed during accept()
                self._discard(connection)
                return
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        try:
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            self._serve(connection)
        except OSError:
            pass  # the client disconnected
        finally:
            self._discard(connection)

    def _discard(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
        connection.close()


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """
    Yield the address of a listener on a free port that serves every connection with `serve`.
    """
    listener = Listener(("127.0.0.1", 0), serve)
    listener.open()
    try:
        assert isinstance(listener.address, tuple)
        yield listener.address
    finally:
        listener.close()
