"""
Nomad's API as a workload sees it, provided by the fake or by a real agent.

The contract tests send their requests through this module; one of two backends creates and changes
the state behind the API.
"""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.support.client import Answer, get
from tests.support.nomad_job import Job
from tests.support.waiting import eventually

#: The ID of no allocation, and of no token.
UNKNOWN = "7f0c1b9e-3d52-4a8e-9a51-0d6a4f6f2c11"

Row = dict[str, Any]


class Backend(Protocol):
    """
    Changes the state behind the API.
    """

    def run(self, job: Job) -> None:
        """
        Run a job, and wait until its instances are listed.
        """

    def set_listening(self, service: str, *, listening: bool) -> None:
        """
        Start or stop a listener at the address of the service's only instance.
        """

    def restart(self, allocation: str) -> None:
        """
        Restart an allocation's tasks.
        """

    def supports(self, capability: str) -> bool:
        """
        Whether this version of Nomad has the capability.
        """

    def grant(self, *capabilities: str) -> None:
        """
        Give the workload a policy with these capabilities.
        """

    def revoke(self) -> None:
        """
        Delete the policy.
        """

    def put_variable(self, path: str, **items: str) -> None:
        """
        Write a variable, as an operator.
        """

    def purge_variable(self, path: str) -> None:
        """
        Delete a variable.
        """

    def grant_variable(self, path: str) -> None:
        """
        Give the workload a policy with the right to read and write this variable.
        """


@dataclass(frozen=True, slots=True)
class Api:
    """
    A port, a task's socket and token, and the backend; `acl`: whether ACLs are enabled.
    """

    port: int
    socket: Path
    token: str
    backend: Backend
    acl: bool

    def call(
        self,
        target: str,
        *,
        method: str = "GET",
        token: str | None = None,
        on: int | Path | None = None,
        timeout: float = 15.0,
        body: bytes = b"",
    ) -> Answer:
        """
        Send a request over TCP, or to `on`, with the token of the workload or another one.
        """
        headers = {"X-Nomad-Token": self.token if token is None else token}
        headers |= {"Content-Length": str(len(body))} if body else {}
        address = on or self.port
        return get(address, target, method=method, headers=headers, timeout=timeout, body=body)

    def get_service(self, service: str, *, on: int | Path | None = None, **query: object) -> Answer:
        """
        Query a service as the workload.
        """
        params = "&".join(f"{name}={value}" for name, value in query.items())
        return self.call(f"/v1/service/{service}?{params}", on=on)

    def register(self, service: str, count: int = 1, **job: Any) -> list[Row]:
        """
        Run a job with `count` instances of a service; return all rows of the service.
        """
        self.backend.run(Job(service, count, **job))
        return rows_of(self.get_service(service))

    def checks(self, allocation: str, **options: Any) -> Answer:
        """
        Query an allocation's checks.
        """
        return self.call(f"/v1/client/allocation/{allocation}/checks", **options)

    def wait_for_check(self, allocation: str, status: str) -> Row:
        """
        Wait until the only check of an allocation has this status; return the response.
        """

        def response() -> Row | None:
            found: Row = json.loads(self.checks(allocation).body)
            (check,) = found.values()
            return found if check["Status"] == status else None

        return eventually(response, 10, 0.02) or {}

    def stop(self, job: str, **options: Any) -> Answer:
        """
        Stop a job.
        """
        return self.call(f"/v1/job/{job}", method="DELETE", **options)

    @contextmanager
    def allowed(self, *capabilities: str) -> Iterator[None]:
        """
        Grant the workload these capabilities for the block; without ACLs it always has them.
        """
        if not self.acl:
            yield
            return
        self.backend.grant(*capabilities)
        try:
            yield
        finally:
            self.backend.revoke()


def rows_of(answer: Answer) -> list[Row]:
    """
    Return the instances in a response.
    """
    assert answer.status == 200, f"{answer.status} {answer.text}"
    rows: list[Row] = json.loads(answer.body)
    return rows


def index_of(answer: Answer) -> int:
    """
    Return the index of a response.
    """
    return int(answer.headers["X-Nomad-Index"])


class BlockingQuery:
    """
    A query in progress, in a thread; its response, and how long that took.
    """

    def __init__(self, api: Api, service: str, **query: Any) -> None:
        self._started_at = time.monotonic()
        pool = ThreadPoolExecutor(1)
        self._response: Future[Answer] = pool.submit(api.get_service, service, **query)
        pool.shutdown(wait=False)
        self.duration = 0.0

    def is_blocked(self, seconds: float = 0.3) -> bool:
        """
        Whether there is no response for this long.
        """
        try:
            self._response.exception(seconds)
        except TimeoutError:
            return True
        return False

    def result(self, within: float = 10.0) -> Answer:
        """
        Wait for the response.
        """
        response = self._response.result(within)
        self.duration = time.monotonic() - self._started_at
        return response
