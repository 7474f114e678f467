"""
A unix socket that answers: a thread for each client, so many at a time.

The places of one socket are its own: whoever fills those for the network does not keep the
operator out.
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

_CLIENTS = 32

#: For a whole request, and for its answer to be taken, in seconds.
_CLIENT_TIMEOUT = 2.0

_TOO_MANY = Response(HTTPStatus.TOO_MANY_REQUESTS, b"too many clients at a time\n")


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """
    One socket, of mode 0600; where a group is named, for that group as well.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, path: Path, routes: Callable[[Request], Response], group: str = "") -> None:
        self.routes = routes
        self._places = threading.BoundedSemaphore(_CLIENTS)
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            super().__init__(str(path), _Handler)
        finally:
            os.umask(before)
        if group:
            shutil.chown(path, group=group)
            path.chmod(0o660)

    def process_request(self, request: object, client_address: object) -> None:
        """Give a client a thread, where there is a place for it."""
        assert isinstance(request, socket.socket)
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        request.setblocking(False)  # the loop of this socket waits for nobody
        with suppress(OSError):
            send(request, _TOO_MANY, 0.0, only_head=False)
        self.shutdown_request(request)

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Answer in the client's own thread, and give its place back."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is no news."""


class _Handler(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        try:
            wanted = receive(self.request, _CLIENT_TIMEOUT)
        except BadRequest as refusal:
            send(self.request, refusal.answer, _CLIENT_TIMEOUT, only_head=False)
            return
        if wanted is not None:
            answer = self.server.routes(wanted)
            send(self.request, answer, _CLIENT_TIMEOUT, only_head=wanted.method == "HEAD")
