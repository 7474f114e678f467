"""
What can be seen of a program from outside: what it says, answers, and brings to life.
"""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from tests.support.client import Answer, get
from tests.support.launched import Launched
from tests.support.namespaces import DRAINING, WORKER, Process, ProcessTree
from tests.support.output_reader import Line
from tests.support.waiting import eventually


class Program:
    """
    A program with a home folder and a port, once or several times started.
    """

    def __init__(self, home: Path, state_dir: Path, port: int) -> None:
        self.home = home
        self.port = port
        self._state_dir = state_dir
        self._run: Launched | None = None
        self._population: ProcessTree | None = None

    @property
    def run(self) -> Launched:
        """
        The start that is looked at: its output, its terminal, its times.
        """
        assert self._run is not None, "not started"
        return self._run

    @property
    def pid(self) -> int:
        """
        The host's pid of the program itself.
        """
        return self.run.pid

    @property
    def running(self) -> bool:
        """
        Whether the program has not ended.
        """
        return not self.run.exited.is_set()

    @property
    def lasted(self) -> float:
        """
        Seconds from its start to its end, or to now; exact however late one asks.
        """
        return (self.run.exited_at or time.monotonic()) - self.run.started_at

    @property
    def exit_time(self) -> float:
        """
        When it ended, on the monotonic clock; an engine that tells of it takes its time.
        """
        assert self.run.exited_at is not None, "it has not ended"
        return self.run.exited_at

    # -- what it says ------------------------------------------------------------------------

    @property
    def logs(self) -> list[Line]:
        """
        The JSON lines on stdout, of this start, so far.
        """
        return list(self.run.journal.records)

    @property
    def other_lines(self) -> list[str]:
        """
        What it wrote to stdout that is no JSON.
        """
        return list(self.run.journal.plain)

    @property
    def errors(self) -> list[str]:
        """
        What it wrote to stderr.
        """
        return self.run.stderr.lines

    @property
    def recent_output(self) -> str:
        """
        The last of everything it said, for messages.
        """
        return "\n".join([*self.errors[-30:], *self.run.journal.lines[-60:]])

    def log_lines(self, event: str, **fields: object) -> list[Line]:
        """
        Return the log lines of this event with these fields.
        """
        wanted = {"event": event, **fields}
        return [line for line in self.logs if wanted.items() <= line.items()]

    def wait_for_log(self, event: str, within: float = 10.0, **fields: object) -> Line:
        """
        Return the first such log line; fail at once when the program ended without it.
        """
        what = f"a log line {event} {fields or ''}"
        eventually(
            lambda: self.log_lines(event, **fields) or self.run.journal.ended, within, what=what
        )
        lines = self.log_lines(event, **fields)
        assert lines, f"it ended without {what}\n{self.recent_output}"
        return lines[0]

    @property
    def ended(self) -> dict[str, Any] | None:
        """
        Why it says it ended, None while it has not.
        """
        return self._json("ended.json")

    @property
    def state(self) -> dict[str, Any] | None:
        """
        What it keeps over a restart, None where there is nothing.
        """
        return self._json("state.json")

    def find(self, name: str) -> Path:
        """
        Return the one file of this name below its home.
        """
        found = [path for path in self.home.rglob(name) if not path.is_symlink()]
        assert len(found) == 1, f"{name} in {self.home}: {found}"
        return found[0]

    # -- what it does ------------------------------------------------------------------------

    def get(self, path: str = "/", **options: Any) -> Answer:
        """
        Ask its public port.
        """
        return get(self.port, path, **options)

    def ready(self, within: float = 10.0, status: int | None = None, path: str = "/") -> Answer:
        """
        Return the first answer of its port, or the first one with this status.
        """

        def answer() -> list[Answer]:
            if not self.running:
                return []
            found = self.get(path, timeout=2)
            return [found] if status in {None, found.status} else []

        what = f"an answer on port {self.port}"
        found = eventually(lambda: answer() or not self.running, within, 0.005, what)
        assert isinstance(found, list), f"it ended without {what}\n{self.recent_output}"
        return found[0]

    def refuses(self) -> bool:
        """
        Tell whether its port takes no new connection any more.
        """
        try:
            self.get(timeout=1)
        except ConnectionRefusedError:
            return True
        return False

    def processes(self) -> list[Process]:
        """
        Return all that live in its namespace; without one, all that it ever started.
        """
        return self._population.look() if self._population else []

    def zombies(self) -> list[Process]:
        """
        Return the dead that nobody buried.
        """
        return [process for process in self.processes() if process.zombie]

    def nginx_master(self) -> int | None:
        """
        Return the host's pid of nginx's master, None while there is none.
        """
        found = [p.pid for p in self.processes() if p.title.startswith("nginx: master process")]
        return found[0] if found else None

    def nginx_workers(self) -> list[int]:
        """
        Return the host's pids of the workers that accept connections.
        """
        return sorted(p.pid for p in self.processes() if p.title == WORKER)

    def draining_workers(self) -> list[int]:
        """
        Return the host's pids of the workers that finish what they have.
        """
        return sorted(p.pid for p in self.processes() if p.title == DRAINING)

    def _json(self, name: str) -> dict[str, Any] | None:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((self._state_dir / name).read_text())
            return found if isinstance(found, dict) else None
        return None
