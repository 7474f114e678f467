"""
The program of FakeNginx, run as `python -I -S` with the standard library only.
"""

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

WORKER = "nginx: worker process"


def main(folder: Path, real: str, words: list[str]) -> int:
    """
    Act as the behaviour file says for this invocation.
    """
    behaviour = read_behaviour(folder)
    if {"-v", "-V"} & {*words} and behaviour["version"]:
        sys.stderr.write(f"nginx version: nginx/{behaviour['version']}\n")
        return 0
    if "-t" in words and behaviour["check"] != "real":
        return check(behaviour)
    if behaviour["run"] == "fake" and not {"-v", "-V", "-t", "-T"} & {*words}:
        return FakeMaster(folder, Path(words[words.index("-c") + 1])).run()
    return os.execv(real, [real, *words])  # noqa: S606 - becomes the real nginx


def read_behaviour(folder: Path) -> dict[str, Any]:
    """
    Return the current behaviour.
    """
    behaviour: dict[str, Any] = json.loads((folder / "behaviour.json").read_text())
    return behaviour


def check(behaviour: dict[str, Any]) -> int:
    """
    Act as `nginx -t` without testing the configuration.
    """
    while behaviour["check"] == "hang":
        time.sleep(60)
    if behaviour["check"] == "fail":
        sys.stderr.write(behaviour["complaint"] + "\n")
        return 1
    return 0


class FakeMaster:
    """
    A master that serves its generation on the internal socket, and exits as configured.
    """

    def __init__(self, folder: Path, config: Path) -> None:
        self._folder = folder
        self._config = config
        self._generation = ""
        self._answered = threading.Event()
        self._listening = ""
        self._workers: list[int] = []
        self._pipe = os.pipe()  # ends the workers when this process exits

    def run(self) -> int:
        """
        Serve until the behaviour or a signal ends it.
        """
        signals = {signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
        signal.pthread_sigmask(signal.SIG_BLOCK, {*signals, signal.SIGUSR1, signal.SIGWINCH})
        self._load()
        threading.Thread(target=self._end, daemon=True).start()
        while True:
            number = signal.sigwait(signals)
            behaviour = read_behaviour(self._folder)
            if number == signal.SIGHUP:
                if behaviour["reloads"]:
                    self._load()
            elif behaviour["obeys_stop"]:
                self._stop_workers()
                return 0

    def _text(self) -> str:
        """
        Return the rendered file, else the whole configuration.
        """
        rendered = self._config.with_name("upstream.conf")
        return (rendered if rendered.exists() else self._config).read_text()

    def _load(self) -> None:
        found = re.search(
            r"/-/generation\b[^}]*?return\s+200\s+[\"']?([^\"';\s]+)", self._text(), re.DOTALL
        )
        self._generation = found[1] if found else ""
        self._listen()
        self._stop_workers()
        for _ in range(read_behaviour(self._folder)["workers"]):
            self._workers.append(
                os.posix_spawn(
                    "/bin/cat",  # waits on its pipe, with nginx's process title
                    [WORKER],
                    {},
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, self._pipe[0], 0),
                        (os.POSIX_SPAWN_CLOSE, self._pipe[1]),
                    ],
                    setsigmask=[],
                )
            )

    def _stop_workers(self) -> None:
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
        self._workers.clear()

    def _listen(self) -> None:
        """
        Listen on the socket of the configuration; an earlier one is removed.
        """
        before, _, _ = self._text().partition("/-/generation")
        listens = re.findall(r"listen\s+[\"']?unix:([^\"';\s]+)", before)
        if not listens or listens[-1] == self._listening:
            return
        if self._listening:
            Path(self._listening).unlink(missing_ok=True)
        self._listening = listens[-1]
        path = Path(self._listening)
        listening = socket.socket(socket.AF_UNIX)
        path.unlink(missing_ok=True)
        listening.bind(str(path))
        path.chmod(0o666)
        listening.listen(64)
        threading.Thread(target=self._serve, args=[listening], daemon=True).start()

    def _serve(self, listening: socket.socket) -> None:
        silent: list[socket.socket] = []
        while True:
            connection, _ = listening.accept()
            if not read_behaviour(self._folder)["answers"]:
                silent.append(connection)  # kept open, never answered
                continue
            with connection:
                connection.recv(65536)
                body = self._generation.encode()
                head = (
                    f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                )
                connection.sendall(head.encode() + body)
            self._answered.set()

    def _end(self) -> None:
        behaviour = read_behaviour(self._folder)
        if behaviour["when"] == "never":
            return
        if behaviour["when"] == "answered":
            self._answered.wait()
        time.sleep(behaviour["after"])
        self._stop_workers()
        sys.stderr.write(behaviour["complaint"] + "\n")
        sys.stderr.flush()
        if behaviour["signal"]:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {behaviour["signal"]})
            signal.pthread_kill(
                threading.get_ident(), behaviour["signal"]
            )  # os.kill would wake sigwait
        os._exit(behaviour["code"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
