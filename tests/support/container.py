"""
A container as users run it: detached, on the engine's own network, with a published port.
"""

import json
import uuid
from pathlib import Path
from typing import Any, Self

from tests.support.client import Answer, get
from tests.support.engine import IMAGE, inspected, pid_of, run_engine
from tests.support.waiting import eventually

#: An endpoint without a listener: the balancer itself answers 503 `starting`.
UNUSED_ENDPOINT = "127.0.0.1:9"


class Container:
    """
    One container, started by the constructor and removed at the end of its `with`.
    """

    def __init__(self, *words: str, options: tuple[str, ...] = (), **environ: str) -> None:
        self.name = f"ax-{uuid.uuid4().hex[:12]}"
        settings = {"ENDPOINTS": UNUSED_ENDPOINT, **environ}
        if "ENDPOINTS_FILE" in settings or "SERVICE_NAME" in settings:
            del settings["ENDPOINTS"]
        done = run_engine(
            *("run", "--detach", "--name", self.name, "--publish", "127.0.0.1::8080"),
            *(word for name, value in settings.items() for word in ("--env", f"{name}={value}")),
            *(*options, IMAGE, *words),
        )
        assert done.returncode == 0, done.stderr

    @property
    def state(self) -> dict[str, Any]:
        """
        Its state, as the engine reports it.
        """
        found: dict[str, Any] = inspected(self.name)["State"]
        return found

    @property
    def pid(self) -> int:
        """
        The pid of its PID 1 on the host; 0 when it has exited.
        """
        return pid_of(self.name)

    @property
    def port(self) -> int:
        """
        The published port on this host.
        """
        ports = inspected(self.name)["NetworkSettings"]["Ports"]
        return int(ports["8080/tcp"][0]["HostPort"])

    @property
    def lines(self) -> list[str]:
        """
        Its lines on stdout and stderr, of all its starts.
        """
        done = run_engine("logs", self.name)
        return [*done.stdout.splitlines(), *done.stderr.splitlines()]

    def log_lines(self, event: str) -> list[dict[str, Any]]:
        """
        Return the log lines of this event.
        """
        records = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [record for record in records if record["event"] == event]

    def answers(self, path: str = "/") -> Answer:
        """
        Wait for its first response and return it.
        """
        port = self.port
        return eventually(lambda: get(port, path, timeout=2), what=f"an answer\n{self.lines}")

    def code(self, within: float = 15.0) -> int:
        """
        Wait until it exits and return its exit code.
        """
        done = run_engine("wait", self.name, within=within)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def inside(self, *words: str, user: str = "") -> str:
        """
        Run a command in it and return the output.
        """
        as_user = ("--user", user) if user else ()
        done = run_engine("exec", *as_user, self.name, *words)
        return done.stdout + done.stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        run_engine("rm", "--force", "--volumes", self.name)


def status_of(pid: int, field: str) -> str:
    """
    Return one field of a process's status in /proc.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(None, 1)[1] for line in lines if line.startswith(f"{field}:"))
