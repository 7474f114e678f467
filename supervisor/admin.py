"""
The internal socket: what the supervisor tells about itself, to who may open the file.

Readers get the view that the loop published last, from a thread of their own, so that a slow or
silent client delays nobody.  A view that has grown old says "not healthy": then the loop is stuck.
"""

import os
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler

from supervisor.model import View

#: Nginx is looked at every 3.5 s; after missing four looks nobody knows whether it answers.
_STALE = 15.0
_CLIENTS = 32


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


class _Handler(BaseHTTPRequestHandler):
    timeout = 2.0
    server: _Server

    def do_GET(self) -> None:
        status, text = self.server.admin.answer(self.path)
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_: object) -> None:
        """Say nothing: the log is for what happens to the service."""
