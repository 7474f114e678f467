"""
The demo: the main use case on one machine, in under a minute.

It runs three small replicas, a file that lists them, a real nginx and a short TTL.  Midway it
replaces one replica under traffic; at the end the counts show that no request was lost.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from supervisor.system import signals

_TTL = 20
_REPLACE_AFTER = 8.0
_PAUSE = 0.02

#: The log events to print, and their text.
_TEXTS = {
    "nginx.found": "found nginx {version}",
    "nginx.ready": "nginx is ready",
    "endpoints.changed": "endpoints changed: {added} added, {removed} removed, {endpoints} now",
    "reload.applied": "new configuration is active: {endpoints} endpoints, after {duration} s",
    "reload.failed": "reload failed, keeping {endpoints_kept} endpoints: {reason}",
    "draining": "draining ({reason}): open requests have {within}",
    "ended": "ended: {reason}, exit code {code}",
}


def run() -> int:
    """
    Run the demo and return the supervisor's exit code, or 1 if a request was lost.
    """
    signals.unblock()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autoexit-")))
        alpha, beta, gamma, delta = (
            stack.enter_context(_replica(name)) for name in ("alpha", "beta", "gamma", "delta")
        )
        port, listed = _free_port(), folder / "endpoints"
        _write_list(listed, alpha, beta, gamma)
        print(f"Three replicas: alpha {alpha}, beta {beta}, gamma {gamma}")
        print(f"One address:    http://127.0.0.1:{port}/ for {_TTL} s (curl it in another shell)\n")
        printer = _LogPrinter(_start(folder, listed, port))
        try:
            return _show(printer, port, listed, (beta, gamma, delta))
        except KeyboardInterrupt:
            return printer.finish()


def _show(printer: "_LogPrinter", port: int, listed: Path, next_replicas: tuple[str, ...]) -> int:
    if not printer.serving.wait(15):
        return printer.finish() or 1
    traffic = _Traffic(port, printer.over)
    traffic.start()
    while not printer.over.wait(1.0):
        left = _TTL - printer.elapsed
        if printer.elapsed >= _REPLACE_AFTER and next_replicas:
            printer.print("replacing replica alpha with delta: one line of the file changes")
            _write_list(listed, *next_replicas)
            next_replicas = ()
        if left > 0:
            printer.print(f"{left:3.0f} s left, {traffic.summary()}")
    code = printer.finish()
    traffic.join()
    print(f"\n{traffic.total} requests, {len(traffic.lost)} lost: {traffic.summary()}")
    for error in traffic.lost[:3]:
        print(f"  lost: {error}")
    print(f"The supervisor exited with code {code}: a Nomad batch job would show `complete`.")
    return code or int(bool(traffic.lost))


def _start(folder: Path, listed: Path, port: int) -> "subprocess.Popen[str]":
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "ENDPOINTS_FILE": str(listed),
        "TTL": f"{_TTL}s",
        "LISTEN_PORT": str(port),
        "LISTEN_ADDRESS": "127.0.0.1",
        "RUNTIME_DIR": str(folder / "run"),
        "STATE_DIR": str(folder / "state"),
        "OPERATOR_DIR": str(folder / "none"),
        "ENTRYPOINT_DIR": str(folder / "none"),
        "LOG_FORMAT": "json",
    }
    folder.chmod(0o711)  # nginx's workers need search permission to reach their folders
    command = [sys.executable, "-m", "supervisor", "run"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


class _LogPrinter(threading.Thread):
    """Prints the supervisor's log events as text."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        super().__init__(daemon=True)
        self.serving, self.over = threading.Event(), threading.Event()
        self._child = child
        self._began = time.monotonic()
        self.start()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def print(self, text: str) -> None:
        print(f"{self.elapsed:5.1f} s  {text}", flush=True)

    def run(self) -> None:
        lines: IO[str] = self._child.stdout  # type: ignore[assignment]
        for line in lines:
            fields = json.loads(line)
            if fields["event"] in _TEXTS:
                self.print(_TEXTS[fields["event"]].format_map(fields))
            if fields["event"] == "reload.applied":
                self.serving.set()
            if fields["event"] == "draining":
                self.over.set()
        self.over.set()

    def finish(self) -> int:
        """Wait for the supervisor to exit and return its code."""
        self.over.set()
        code = self._child.wait(_TTL * 2)
        self.join(5)
        return code


class _Traffic(threading.Thread):
    """Sends one request after another until stopped, and counts the outcomes."""

    def __init__(self, port: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._over = over
        self._responses: Counter[str] = Counter()
        self.lost: list[str] = []
        self.total = 0

    def run(self) -> None:
        while not self._over.wait(_PAUSE):
            self._send()

    def _send(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            body = response.read().decode()
        except (OSError, HTTPException) as error:
            # The port closes at the deadline by design; a failure before that is a loss.
            if not self._over.wait(0.5):
                self.lost.append(repr(error))
                self.total += 1
            return
        finally:
            connection.close()
        self.total += 1
        if response.status == 200:
            self._responses[body] += 1
        else:
            self.lost.append(f"{response.status} {body}")

    def summary(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(dict(self._responses).items()))


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = self.server.name.encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@contextmanager
def _replica(name: str) -> Iterator[str]:
    """Run a replica in a thread, and yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.name = name  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _write_list(path: Path, *replicas: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text("".join(f"{replica}\n" for replica in replicas))
    temporary.replace(path)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
