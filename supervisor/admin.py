"""
The internal socket: what the supervisor tells about itself, to who may open the file.

Readers get the view that the loop published last, from a thread of their own, so that a slow or
silent client delays nobody.  A view that has grown old says "not healthy": then the loop is stuck.
"""

import os
import socketserver
import threading
import time
from http import HTTPStatus

from supervisor.model import View

#: Nginx is looked at every 3.5 s; after missing four looks nobody knows whether it answers.
_STALE = 15.0
_CLIENTS = 32

_LONGEST_LINE = 8192
_MOST_HEADERS = 100


class Admin:
    """
    An HTTP server on a unix socket with mode 0600: `/healthz` and `/readyz`.
    """

    def __init__(self, path: str) -> None:
        self.view = View(0.0)
        self._server = _Server(path, self)

    def start(self) -> None:
        """Answer from now on."""
        threading.Thread(target=self._server.serve_forever, name="admin", daemon=True).start()

    def answer(self, path: str) -> tuple[int, str]:
        """Return the status and the text for a path."""
        view = self.view
        fresh = time.clock_gettime(time.CLOCK_BOOTTIME) - view.at < _STALE
        if path == "/healthz":
            return (
                (200, "healthy\n") if view.healthy and fresh else (503, "nginx does not answer\n")
            )
        if path == "/readyz":
            return (
                (200, "ready\n")
                if view.ready and fresh
                else (503, f"not ready: {view.phase}, {view.mode}\n")
            )
        return 404, "not found\n"


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, path: str, admin: Admin) -> None:
        self.admin = admin
        self._places = threading.BoundedSemaphore(_CLIENTS)
        before = os.umask(0o177)
        try:
            super().__init__(path, _Handler)
        finally:
            os.umask(before)

    def process_request(self, request: object, client_address: object) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)  # type: ignore[arg-type]
        else:
            self.shutdown_request(request)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is no news."""


class _Handler(socketserver.StreamRequestHandler):
    """
    As much HTTP as is spoken here, by hand: `http.server` would be 0.7 MB more.
    """

    timeout = 2.0
    server: _Server

    def handle(self) -> None:
        words = self.rfile.readline(_LONGEST_LINE).split()
        if len(words) != 3:
            return
        for _ in range(_MOST_HEADERS):
            if self.rfile.readline(_LONGEST_LINE) in {b"\r\n", b"\n", b""}:
                break
        if words[0] == b"GET":
            status, text = self.server.admin.answer(words[1].decode("latin-1"))
        else:
            status, text = 405, "only GET\n"
        body = text.encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.wfile.write(head.encode() + body)
