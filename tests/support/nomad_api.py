"""
Nomad's API as a workload has it, whether a fake or a real agent answers.

What the contract suite states is asked here; what has to happen behind the API, so that there is
something to ask about, is done by one of two sides.
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

#: An allocation, or a token, that nobody has.
UNKNOWN = "7f0c1b9e-3d52-4a8e-9a51-0d6a4f6f2c11"

Row = dict[str, Any]


class Side(Protocol):
    """
    What is done behind the API, by whoever is in charge there.
    """

    def run(self, job: Job) -> None:
        """
        Run it, and wait until its instances are listed.
        """

    def listen(self, service: str, *, listening: bool) -> None:
        """
        Let something listen where the service's one instance is said to, or nothing any more.
        """

    def restart(self, allocation: str) -> None:
        """
        Restart an allocation's tasks.
        """

    def knows(self, right: str) -> bool:
        """
        Whether this release of Nomad has such a capability.
        """

    def grant(self, *rights: str) -> None:
        """
        Give the workload that asks a policy with these capabilities.
        """

    def revoke(self) -> None:
        """
        Take the policy away.
        """


@dataclass(frozen=True, slots=True)
class Api:
    """
    A port, a task's socket, its token, and the side that changes things; `acl`: who may do what.
    """

    port: int
    socket: Path
    token: str
    side: Side
    acl: bool

    def call(
        self,
        target: str,
        *,
        method: str = "GET",
        token: str | None = None,
        on: int | Path | None = None,
        timeout: float = 15.0,
    ) -> Answer:
        """
        Ask over TCP, or wherever else, as the workload or with another token.
        """
        headers = {"X-Nomad-Token": self.token if token is None else token}
        where = on or self.port
        return get(where, target, method=method, headers=headers, timeout=timeout)

    def ask(self, service: str, *, on: int | Path | None = None, **query: object) -> Answer:
        """
        Ask for a service, as the workload.
        """
        words = "&".join(f"{name}={value}" for name, value in query.items())
        return self.call(f"/v1/service/{service}?{words}", on=on)

    def offer(self, service: str, count: int = 1, **job: Any) -> list[Row]:
        """
        Run a job with so many instances of a service; return all rows of the service.
        """
        self.side.run(Job(service, count, **job))
        return rows_of(self.ask(service))

    def checks(self, allocation: str, **options: Any) -> Answer:
        """
        Ask for an allocation's checks.
        """
        return self.call(f"/v1/client/allocation/{allocation}/checks", **options)

    def comes_to(self, allocation: str, status: str) -> Row:
        """
        Wait until the one check of an allocation has this status; return all that is said of it.
        """

        def said() -> Row | None:
            found: Row = json.loads(self.checks(allocation).body)
            (check,) = found.values()
            return found if check["Status"] == status else None

        return eventually(said, 10, 0.02) or {}

    def stop(self, job: str, **options: Any) -> Answer:
        """
        Ask for a job to be stopped.
        """
        return self.call(f"/v1/job/{job}", method="DELETE", **options)

    @contextmanager
    def allowed(self, *rights: str) -> Iterator[None]:
        """
        Let the workload have these capabilities meanwhile, which it has anyhow with ACLs off.
        """
        if not self.acl:
            yield
            return
        self.side.grant(*rights)
        try:
            yield
        finally:
            self.side.revoke()


def rows_of(answer: Answer) -> list[Row]:
    """
    The instances that an answer lists.
    """
    assert answer.status == 200, f"{answer.status} {answer.text}"
    rows: list[Row] = json.loads(answer.body)
    return rows


def index_of(answer: Answer) -> int:
    """
    The index an answer was given under.
    """
    return int(answer.headers["X-Nomad-Index"])


class Asked:
    """
    A query under way, once it is on its way: its answer, and how long that took.
    """

    def __init__(self, api: Api, service: str, **query: Any) -> None:
        self._began = time.monotonic()
        pool = ThreadPoolExecutor(1)
        self._answer: Future[Answer] = pool.submit(api.ask, service, **query)
        pool.shutdown(wait=False)
        self.took = 0.0

    def blocks(self, seconds: float = 0.3) -> bool:
        """
        Whether there is no answer for this long.
        """
        try:
            self._answer.exception(seconds)
        except TimeoutError:
            return True
        return False

    def result(self, within: float = 10.0) -> Answer:
        """
        Wait for the answer.
        """
        answer = self._answer.result(within)
        self.took = time.monotonic() - self._began
        return answer
