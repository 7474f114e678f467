"""
A replica as a process: it loads its model for a while, then listens and responds with its name,
`/slow?seconds=` later.

Run as a script with a port, a name and the seconds of loading.  It needs the standard library only
and handles no signals.
"""

import socketserver
import sys
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = sys.argv[2].encode()
        time.sleep(float(parse_qs(urlsplit(self.path).query).get("seconds", ["0"])[0]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(name)))
        self.end_headers()
        self.wfile.write(name)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    time.sleep(float(sys.argv[3]))  # the model, in a real one
    with _Server(("127.0.0.1", int(sys.argv[1])), _Answer) as server:
        server.serve_forever()
