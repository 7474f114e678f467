"""
A replica in a container, named by the index of its allocation or by its task.

Its source is passed to `python3 -c` in a job file, where a dollar sign would begin a variable, so
it has none and imports nothing of the tests.  It answers GET and POST with keep-alive,
`/slow?seconds=` later, after an optional time of loading.  It handles no signals.
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from os import environ
from urllib.parse import parse_qs, urlsplit


class Answer(BaseHTTPRequestHandler):
    """
    One connection.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        """Respond with the name."""
        query = parse_qs(urlsplit(self.path).query)
        time.sleep(float(query.get("seconds", ["0"])[0]))
        task = environ.get("NOMAD_TASK_NAME", "")
        index = environ.get("NOMAD_ALLOC_INDEX", "")
        name = (task if task[-1:].isdigit() else "replica" + index).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(name)))
        self.end_headers()
        self.wfile.write(name)

    def do_POST(self) -> None:
        """Read the body, then respond with the name."""
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Server(ThreadingHTTPServer):
    """
    A server with a long accept queue.
    """

    request_queue_size = 256
    daemon_threads = True


if __name__ == "__main__":
    time.sleep(float(sys.argv[1] if len(sys.argv) > 1 else 0))  # the model, in a real one
    Server(("0.0.0.0", 5000), Answer).serve_forever()
