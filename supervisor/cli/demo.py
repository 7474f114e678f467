"""
The demo: the main job on a laptop, in front of the reader, in under a minute.

Three small replicas, a file that lists them, a real nginx and a short TTL.  Midway one replica is
replaced while requests keep coming; at the end the count shows that none was lost.
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

#: What the supervisor logs, in the words of somebody who watches.
_TOLD = {
    "nginx.found": "found nginx {version}",
    "nginx.ready": "nginx answers",
    "endpoints.changed": "endpoints changed: {added} added, {removed} removed, {endpoints} now",
    "reload.applied": "new configuration answers: {endpoints} endpoints, after {duration} s",
    "reload.failed": "reload failed, keeping {endpoints_kept} endpoints: {reason}",
    "draining": "draining ({reason}): open requests have {within}",
    "ended": "ended: {reason}, exit code {code}",
}


def run() -> int:
    """
    Show it, and return the supervisor's exit code, or 1 when a request was lost.
    """
    signals.unblock()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="autoexit-")))
        alpha, beta, gamma, delta = (
            stack.enter_context(_replica(name)) for name in ("alpha", "beta", "gamma", "delta")
        )
        port, listed = _free_port(), folder / "endpoints"
        _list(listed, alpha, beta, gamma)
        print(f"Three replicas: alpha {alpha}, beta {beta}, gamma {gamma}")
        print(f"One address:    http://127.0.0.1:{port}/ for {_TTL} s (curl it in another shell)\n")
        story = _Story(_start(folder, listed, port))
        try:
            return _show(story, port, listed, (beta, gamma, delta))
        except KeyboardInterrupt:
            return story.finish()


def _show(story: "_Story", port: int, listed: Path, later: tuple[str, ...]) -> int:
    if not story.serving.wait(15):
        return story.finish() or 1
    traffic = _Traffic(port, story.over)
    traffic.start()
    while not story.over.wait(1.0):
        left = _TTL - story.elapsed
        if story.elapsed >= _REPLACE_AFTER and later:
            story.tell("replica alpha is replaced by delta: one line of the file changes")
            _list(listed, *later)
            later = ()
        if left > 0:
            story.tell(f"{left:3.0f} s left, {traffic.summary()}")
    code = story.finish()
    traffic.join()
    print(f"\n{traffic.total} requests, {len(traffic.lost)} lost: {traffic.summary()}")
    for trouble in traffic.lost[:3]:
        print(f"  lost: {trouble}")
    print(f"The supervisor ended with exit code {code}: a Nomad batch job would show `complete`.")
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
    folder.chmod(0o711)  # nginx's workers pass through it on the way to their folders
    command = [sys.executable, "-m", "supervisor", "run"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


class _Story(threading.Thread):
    """Follows the supervisor's log and tells it."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        super().__init__(daemon=True)
        self.serving, self.over = threading.Event(), threading.Event()
        self._child = child
        self._began = time.monotonic()
        self.start()

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def tell(self, text: str) -> None:
        print(f"{self.elapsed:5.1f} s  {text}", flush=True)

    def run(self) -> None:
        lines: IO[str] = self._child.stdout  # type: ignore[assignment]
        for line in lines:
            fields = json.loads(line)
            if fields["event"] in _TOLD:
                self.tell(_TOLD[fields["event"]].format_map(fields))
            if fields["event"] == "reload.applied":
                self.serving.set()
            if fields["event"] == "draining":
                self.over.set()
        self.over.set()

    def finish(self) -> int:
        """Wait for the end and return the exit code."""
        self.over.set()
        code = self._child.wait(_TTL * 2)
        self.join(5)
        return code


class _Traffic(threading.Thread):
    """Sends one request after the other until told to stop, and counts what becomes of each."""

    def __init__(self, port: int, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._over = over
        self._answers: Counter[str] = Counter()
        self.lost: list[str] = []
        self.total = 0

    def run(self) -> None:
        while not self._over.wait(_PAUSE):
            self._send()

    def _send(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            body = answer.read().decode()
        except (OSError, HTTPException) as error:
            # The port closes at the deadline, by design; before that it would be a loss.
            if not self._over.wait(0.5):
                self.lost.append(repr(error))
                self.total += 1
            return
        finally:
            connection.close()
        self.total += 1
        if answer.status == 200:
            self._answers[body] += 1
        else:
            self.lost.append(f"{answer.status} {body}")

    def summary(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(dict(self._answers).items()))


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = self.server.name.encode()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the story is told elsewhere."""


@contextmanager
def _replica(name: str) -> Iterator[str]:
    """Run a replica in a thread, and yield where it listens."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    server.name = name  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _list(path: Path, *replicas: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(f"{replica}\n" for replica in replicas))
    fresh.replace(path)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
