"""
A program with its admin port, asked as an operator and as a scraper would.
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
    One more port, and words for what is asked there and on the socket.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        self.admin_port = free_port()
        self.replicas: list[Replica] = []
        super().__init__(*args, **{"ADMIN_PORT": str(self.admin_port), "pid1": False, **settings})

    @property
    def socket(self) -> Path:
        """
        The supervisor's own socket.
        """
        return self.home / "run" / "supervisor.sock"

    def status(self, where: int | Path | None = None) -> dict[str, Any]:
        """
        Return what /status answers, having compared it with its schema.
        """
        answer = get(self.admin_port if where is None else where, "/status")
        assert 200 == answer.status, answer.text
        found: dict[str, Any] = json.loads(answer.text)
        SCHEMA.validate(found)
        return found

    def post(self, path: str, **words: str) -> Answer:
        """
        Ask for something on the socket.
        """
        return get(self.socket, path, method="POST", body=json.dumps(words).encode(), timeout=8)

    def run_command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """
        Run a command beside it, as `nomad alloc exec` would.
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
    Serve replicas of these names, and wait until they do.
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
