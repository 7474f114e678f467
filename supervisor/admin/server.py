"""
A server on a unix socket with one thread per client, up to a limit.

The limit is per socket: clients from the network cannot lock out the operator.  At the limit the
client that has been connected the longest without sending a request is dropped for the next one,
so that idle connections lock nobody out.  Where no thread can be started, the accepting thread
responds itself: a limit of processes must not make the supervisor look dead.
"""

import os
import shutil
import socket
import socketserver
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from supervisor.admin.defects import Defects
from supervisor.admin.http import BadRequest, Request, Response, receive, send
from supervisor.core.errors import ExitCode, Problem

_MAX_CLIENTS = 32

#: Limit for receiving a request, and for sending its response, in seconds; in the accepting thread
#: the second one.
_CLIENT_TIMEOUT = 2.0
_ACCEPTING_TIMEOUT = 0.2

#: Pause after a client could not be accepted, in seconds.
_ACCEPT_PAUSE = 0.1

_TOO_MANY = Response(
    HTTPStatus.TOO_MANY_REQUESTS,
    f"cannot answer: {_MAX_CLIENTS} requests are being answered; try again\n".encode(),
)
_DROPPED = Response(
    HTTPStatus.REQUEST_TIMEOUT,
    f"cannot wait for the request: {_MAX_CLIENTS} clients are connected; try again\n".encode(),
)


class Server(socketserver.UnixStreamServer):
    """
    A server on one socket of mode 0600, or 0660 for `group` if it is given.
    """

    request_queue_size = 128

    def __init__(
        self,
        path: Path,
        routes: Callable[[Request], Response],
        defects: Defects,
        group: str = "",
    ) -> None:
        self.routes = routes
        self.path = path
        self._defects = defects
        self._group = group
        self._closing = threading.Event()
        self.successor: Server | None = None
        self._lock = threading.Lock()
        self._threads = 0
        self._awaited: dict[socket.socket, None] = {}  # without a request yet, oldest first
        self._next: deque[socket.socket] = deque()  # for the threads of dropped clients
        clear_place(path)
        before = os.umask(0o177)
        try:
            super().__init__(str(path), socketserver.BaseRequestHandler)
        finally:
            os.umask(before)
        if group:
            shutil.chown(path, group=group)
            path.chmod(0o660)
        self._identity = _identity(path)

    def is_lost(self) -> bool:
        """Return whether the path of the socket is not the one that was created."""
        return _identity(self.path) != self._identity

    def reopened(self) -> "Server":
        """
        Create the socket again; this server's thread continues with it.

        No thread is started, since there may be none; its clients are still answered.
        """
        server = self.successor = Server(self.path, self.routes, self._defects, self._group)
        self._closing.set()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # ends the wait for a client
        return server

    def serve_until_closed(self) -> None:
        """Accept clients, without waking up in between, until the socket was created again."""
        while not self._closing.is_set():
            try:
                request, address = self.get_request()
            except OSError:  # too many open files, or closing
                self._closing.wait(_ACCEPT_PAUSE)
                continue
            try:
                self.process_request(request, address)
            except Exception:  # noqa: BLE001 - as in socketserver: one client ends no server
                self.shutdown_request(request)
        self.server_close()

    def process_request(self, request: object, client_address: object) -> None:
        """Start a thread for a client, or drop an idle one for it, or refuse it."""
        del client_address  # a unix socket has none
        assert isinstance(request, socket.socket)
        with self._lock:
            has_slot = self._threads < _MAX_CLIENTS
            self._threads += has_slot
        if has_slot:
            try:
                threading.Thread(
                    target=self._serve, args=(request,), name="client", daemon=True
                ).start()
            except RuntimeError:  # no thread is left
                with self._lock:
                    self._threads -= 1
                self._answer_and_close(request, _ACCEPTING_TIMEOUT)
        elif not self._drop_for(request):
            self._send_at_once(request, _TOO_MANY)
            self.shutdown_request(request)

    def _drop_for(self, request: socket.socket) -> bool:
        """Give a client the thread of the one that has been idle the longest, if there is one."""
        with self._lock:
            dropped = next(iter(self._awaited), None)
            if dropped is None:
                return False
            del self._awaited[dropped]
            self._next.append(request)
            self._send_at_once(dropped, _DROPPED)
            with suppress(OSError):  # it may have disconnected
                dropped.shutdown(socket.SHUT_RDWR)  # ends its thread's wait
        return True

    @staticmethod
    def _send_at_once(request: socket.socket, response: Response) -> None:
        """Send a short response without waiting for the client."""
        with suppress(OSError):
            send(request, response, 0.0, only_head=False)

    def _serve(self, request: socket.socket) -> None:
        """Respond to a client, and to those that were given its thread."""
        client: socket.socket | None = request
        while client is not None:
            self._answer_and_close(client, _CLIENT_TIMEOUT)
            with self._lock:
                client = self._next.popleft() if self._next else None
                self._threads -= client is None

    def _answer_and_close(self, request: socket.socket, within: float) -> None:
        try:
            self._answer(request, within)
        except OSError:
            pass  # a client that disconnects is no error
        except Exception as error:  # noqa: BLE001 - a defect does not end the server
            self._defects.report(error)
        with self._lock:
            self._awaited.pop(request, None)
            self.shutdown_request(request)

    def _answer(self, request: socket.socket, within: float) -> None:
        with self._lock:
            self._awaited[request] = None
        try:
            received = receive(request, within)
        except BadRequest as error:
            send(request, error.response, within, only_head=False)
            return
        with self._lock:
            is_dropped = request not in self._awaited
            self._awaited.pop(request, None)
        if received is not None and not is_dropped:
            try:
                response = self.routes(received)
            except Exception as error:  # noqa: BLE001 - a client gets an answer to any defect
                response = self._defects.respond(error, received)
            send(request, response, within, only_head=received.method == "HEAD")


def serve(server: Server | None) -> None:
    """
    Accept clients on a socket, and on each that is created in its place.
    """
    while server is not None:
        server.serve_until_closed()
        server = server.successor


def clear_place(path: Path) -> None:
    """
    Remove the socket of an earlier process.  Raises Problem for a link or a directory.
    """
    if path.is_symlink() or path.is_dir():
        raise Problem(
            ExitCode.CONFIG, f"cannot use {path}: a link or a directory: remove it; giving up"
        )
    path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
