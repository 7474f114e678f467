"""
A replica in a container: its name is the number of its allocation, or of its task.

Its source goes to `python3 -c` by way of a job file, where a dollar sign would begin a variable: it
has none, and stands alone.  It answers GET and POST on connections that are kept, `/slow?seconds=`
later, and loads its model first where it is told to.  It knows nothing of signals.
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
        """Answer with the name."""
        asked = parse_qs(urlsplit(self.path).query)
        time.sleep(float(asked.get("seconds", ["0"])[0]))
        task = environ.get("NOMAD_TASK_NAME", "")
        index = environ.get("NOMAD_ALLOC_INDEX", "")
        name = (task if task[-1:].isdigit() else "replica" + index).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(name)))
        self.end_headers()
        self.wfile.write(name)

    def do_POST(self) -> None:
        """Read all of it, then the same."""
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """
    One that takes many at a time.
    """

    request_queue_size = 256
    daemon_threads = True


if __name__ == "__main__":
    time.sleep(float(sys.argv[1] if len(sys.argv) > 1 else 0))  # the model, in a real one
    Server(("0.0.0.0", 5000), Answer).serve_forever()
