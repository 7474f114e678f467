"""
A program observed from outside: its output, its responses and its processes.
"""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from tests.support.client import Answer, get
from tests.support.launched import Launched
from tests.support.namespaces import DRAINING, MASTER, WORKER, Process, ProcessTree
from tests.support.output_reader import Line
from tests.support.waiting import eventually


class Program:
    """
    A program with a home folder and a port, started once or several times.
    """

    def __init__(self, home: Path, state_dir: Path, port: int) -> None:
        self.home = home
        self.port = port
        self._state_dir = state_dir
        self._run: Launched | None = None
        self._tree: ProcessTree | None = None

    @property
    def run(self) -> Launched:
        """
        The last start: its output, its terminal, its times.
        """
        assert self._run is not None, "not started"
        return self._run

    @property
    def pid(self) -> int:
        """
        The program's pid on the host.
        """
        return self.run.pid

    @property
    def running(self) -> bool:
        """
        Whether the program has not exited.
        """
        return not self.run.exited.is_set()

    @property
    def lasted(self) -> float:
        """
        Seconds from its start to its exit, or to now; exact however late it is read.
        """
        return (self.run.exited_at or time.monotonic()) - self.run.started_at

    @property
    def exit_time(self) -> float:
        """
        The time of its exit on the monotonic clock; a container engine reports it later.
        """
        assert self.run.exited_at is not None, "it has not exited"
        return self.run.exited_at

    # -- its output ----------------------------------------------------------------------------

    @property
    def logs(self) -> list[Line]:
        """
        The JSON lines on stdout of this start so far.
        """
        return list(self.run.output.records)

    @property
    def other_lines(self) -> list[str]:
        """
        The lines on stdout that are not JSON.
        """
        return list(self.run.output.plain)

    @property
    def errors(self) -> list[str]:
        """
        The lines on stderr.
        """
        return self.run.stderr.lines

    @property
    def recent_output(self) -> str:
        """
        The last lines of all its output, for error messages.
        """
        return "\n".join([*self.errors[-30:], *self.run.output.lines[-60:]])

    def log_lines(self, event: str, **fields: object) -> list[Line]:
        """
        Return the log lines of this event with these fields.
        """
        wanted = {"event": event, **fields}
        return [line for line in self.logs if wanted.items() <= line.items()]

    def wait_for_log(self, event: str, within: float = 10.0, **fields: object) -> Line:
        """
        Wait for such a log line and return the first; fail at once if the program exits without it.
        """
        what = f"a log line {event} {fields or ''}"
        eventually(
            lambda: self.log_lines(event, **fields) or self.run.output.ended, within, what=what
        )
        lines = self.log_lines(event, **fields)
        assert lines, f"it exited without {what}\n{self.recent_output}"
        return lines[0]

    @property
    def ended(self) -> dict[str, Any] | None:
        """
        The content of ended.json, None before it exists.
        """
        return self._json("ended.json")

    @property
    def state(self) -> dict[str, Any] | None:
        """
        The record it keeps over a restart, None without one.
        """
        return self._json("state.json")

    def find(self, name: str) -> Path:
        """
        Return the only file of this name below its home.
        """
        found = [path for path in self.home.rglob(name) if not path.is_symlink()]
        assert len(found) == 1, f"{name} in {self.home}: {found}"
        return found[0]

    # -- its behaviour -------------------------------------------------------------------------

    def get(self, path: str = "/", **options: Any) -> Answer:
        """
        Send a request to its public port.
        """
        return get(self.port, path, **options)

    def ready(self, within: float = 10.0, status: int | None = None, path: str = "/") -> Answer:
        """
        Wait for a response on its port, or for one with this status, and return it.
        """

        def answer() -> list[Answer]:
            if not self.running:
                return []
            found = self.get(path, timeout=2)
            return [found] if status in {None, found.status} else []

        what = f"an answer on port {self.port}"
        found = eventually(lambda: answer() or not self.running, within, 0.005, what)
        assert isinstance(found, list), f"it exited without {what}\n{self.recent_output}"
        return found[0]

    def refuses(self) -> bool:
        """
        Return whether its port refuses new connections.
        """
        try:
            self.get(timeout=1)
        except ConnectionRefusedError:
            return True
        return False

    def processes(self) -> list[Process]:
        """
        Return all processes in its namespace; without one, all that it has started.
        """
        return self._tree.processes() if self._tree else []

    def zombies(self) -> list[Process]:
        """
        Return the zombies.
        """
        return [process for process in self.processes() if process.zombie]

    def nginx_master(self) -> int | None:
        """
        Return the pid of nginx's master on the host, None while there is none.
        """
        titled = [p for p in self.processes() if p.title.startswith(MASTER)]
        # A worker has its master's title until it has set its own.
        pids = {each.pid for each in titled}
        found = [each.pid for each in titled if each.ppid not in pids]
        return found[0] if found else None

    def nginx_workers(self) -> list[int]:
        """
        Return the pids of the workers that accept connections.
        """
        return sorted(p.pid for p in self.processes() if p.title == WORKER)

    def draining_workers(self) -> list[int]:
        """
        Return the pids of the draining workers.
        """
        return sorted(p.pid for p in self.processes() if p.title == DRAINING)

    def _json(self, name: str) -> dict[str, Any] | None:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((self._state_dir / name).read_text())
            return found if isinstance(found, dict) else None
        return None
