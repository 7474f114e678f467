"""
The program under test with its admin port and its control socket.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.support.checkout import CHECKOUT
from tests.support.client import Answer, get
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import free_port

SCHEMA = Draft202012Validator(json.loads((CHECKOUT / "docs" / "status.schema.json").read_text()))


class AdminSubject(Supervised):
    """
    The program with an admin port, and requests to this port and to the socket.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        self.admin_port = free_port()
        self.replicas: list[Replica] = []
        super().__init__(*args, **{"ADMIN_PORT": str(self.admin_port), "pid1": False, **settings})

    @property
    def socket(self) -> Path:
        """
        The supervisor's control socket.
        """
        return self.home / "run" / "supervisor.sock"

    def status(self, address: int | Path | None = None) -> dict[str, Any]:
        """
        Return the status document of /status, after validating it against its schema.
        """
        answer = get(self.admin_port if address is None else address, "/status")
        assert 200 == answer.status, answer.text
        found: dict[str, Any] = json.loads(answer.text)
        SCHEMA.validate(found)
        return found

    def post(self, path: str, **fields: str) -> Answer:
        """
        Send a POST with these fields as JSON to the socket.
        """
        return get(self.socket, path, method="POST", body=json.dumps(fields).encode(), timeout=8)

    def run_command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """
        Run a subcommand against it, as `nomad alloc exec` would.
        """
        environ = {**self._settings(), "RUNTIME_DIR": str(self.home / "run")}
        return subprocess.run(
            [sys.executable, "-m", "supervisor", *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=CHECKOUT,
            env=environ,
            timeout=20,
        )


@contextmanager
def running_with_admin(*names: str, **settings: Any) -> Iterator[AdminSubject]:
    """
    Run a program on replicas of these names; wait until it serves them.
    """
    with ExitStack() as stack:
        replicas = [stack.enter_context(Replica(name)) for name in names]
        subject = AdminSubject(**{"START_WAIT": "5s", **settings})
        stack.callback(subject.close)
        subject.replicas = replicas
        subject.offer(*replicas)
        subject.start()
        if names:
            subject.ready(status=200)
            subject.wait_for_log("reload.applied", endpoints=len(names))
        yield subject
