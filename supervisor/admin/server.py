"""
A server on a unix socket with one thread per client, up to a limit.

The limit is per socket: clients from the network cannot lock out the operator.
"""

import os
import shutil
import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

from supervisor.admin.http import BadRequest, Request, Response, receive, send
from supervisor.core.errors import ExitCode, Problem

_MAX_CLIENTS = 32

#: Limit for receiving a request, and for sending its response, in seconds.
_CLIENT_TIMEOUT = 2.0

#: Pause after a client could not be accepted, in seconds.
_ACCEPT_PAUSE = 0.1

_TOO_MANY = Response(HTTPStatus.TOO_MANY_REQUESTS, b"too many clients\n")


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """
    A server on one socket of mode 0600, or 0660 for `group` if it is given.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, path: Path, routes: Callable[[Request], Response], group: str = "") -> None:
        self.routes = routes
        self.path = path
        self._group = group
        self._closing = threading.Event()
        self._slots = threading.BoundedSemaphore(_MAX_CLIENTS)
        clear_place(path)
        before = os.umask(0o177)
        try:
            super().__init__(str(path), _Handler)
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
        """Create the socket again, and end this server; its clients are still answered."""
        server = Server(self.path, self.routes, self._group)
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
        """Start a thread for a client, or refuse it at the limit."""
        assert isinstance(request, socket.socket)
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.setblocking(False)  # the accepting thread must not wait for a client
        with suppress(OSError):
            send(request, _TOO_MANY, 0.0, only_head=False)
        self.shutdown_request(request)

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Respond in the client's thread, and release its slot."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._slots.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Do nothing: a client that disconnects is no error."""


def clear_place(path: Path) -> None:
    """
    Remove the socket of an earlier process.  Raises Problem for a link or a directory.
    """
    if path.is_symlink() or path.is_dir():
        raise Problem(
            ExitCode.CONFIG, f"cannot use {path}: a link or a directory: remove it; giving up"
        )
    path.unlink(missing_ok=True)


class _Handler(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        try:
            request = receive(self.request, _CLIENT_TIMEOUT)
        except BadRequest as error:
            send(self.request, error.response, _CLIENT_TIMEOUT, only_head=False)
            return
        if request is not None:
            response = self.server.routes(request)
            send(self.request, response, _CLIENT_TIMEOUT, only_head=request.method == "HEAD")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
