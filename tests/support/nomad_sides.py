"""
The two sides of the contract: the fake, and a real agent whose jobs only exist.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.cluster import Cluster
from tests.support.fake_nomad import TOKEN, FakeNomad
from tests.support.listening import Listener
from tests.support.nomad_api import Api
from tests.support.nomad_job import CHECK, TASK, Job, description
from tests.support.nomad_registry import row
from tests.support.waiting import eventually, free_port

#: The job that the workload, as which everything is asked, belongs to.
KEEPER = "keeper"


class FakeSide:
    """
    The fake, told what to hold.
    """

    def __init__(self, nomad: FakeNomad) -> None:
        self._nomad = nomad
        self._port = 20000

    def run(self, job: Job) -> None:
        """
        Keep what is there, take away or add what differs.
        """
        rows: list[Any] = self._nomad._registry.rows(("default", job.service))
        ours = [known for known in rows if known["JobID"] == job.id][: job.count]
        kept = [known for known in rows if known["JobID"] != job.id]
        index = self._nomad.index + 1
        new = [
            row(job.service, "10.0.0.1", self._next(), job=job.id, tags=job.tags, index=index)
            for _ in range(job.count - len(ours))
        ]
        self._nomad.rows(job.service, [*kept, *ours, *new])
        for added in new:
            found = {CHECK: "pending"} if job.checked else None
            self._nomad.checks(str(added["AllocID"]), found)

    def listen(self, service: str, *, listening: bool) -> None:
        """
        Let its check say so.
        """
        rows: list[Any] = self._nomad._registry.rows(("default", service))
        for found in rows:
            self._nomad.checks(found["AllocID"], {CHECK: "success" if listening else "failure"})

    def restart(self, allocation: str) -> None:
        """
        As Nomad does.
        """
        self._nomad.restart(allocation)

    def knows(self, right: str) -> bool:
        """
        As the newest Nomad.
        """
        return True

    def grant(self, *rights: str) -> None:
        """
        To everyone who has a token.
        """
        self._nomad.rights.update(rights)

    def revoke(self) -> None:
        """
        All of them.
        """
        self._nomad.rights.clear()

    def _next(self) -> int:
        self._port += 1
        return self._port


class RealSide:
    """
    The operator of a real agent.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._ports: dict[str, int] = {}
        self._listeners: dict[str, Listener] = {}

    def run(self, job: Job) -> None:
        """
        Submit it; a checked one gets a port of ours, where nothing listens yet.
        """
        if job.checked:
            self._ports[job.service] = free_port()
        answer = self.cluster.call(
            "PUT", "/v1/jobs", {"Job": description(job, self._ports.get(job.service, 0))}
        )
        assert answer.status == 200, answer.text
        eventually(lambda: self._count(job) == job.count, 15)

    def listen(self, service: str, *, listening: bool) -> None:
        """
        Listen ourselves: which process does is all the same to a check.
        """
        if service not in self._listeners:
            place = ("127.0.0.1", self._ports[service])
            self._listeners[service] = Listener(place, lambda _: None)
        if listening:
            self._listeners[service].open()
        else:
            self._listeners[service].close()

    def restart(self, allocation: str) -> None:
        """
        As a person would.
        """
        self.cluster.nomad("alloc", "restart", allocation)

    def knows(self, right: str) -> bool:
        """
        Ask for a policy that nobody gets.
        """
        policy = {"Name": "unused", "Rules": _policy((right,))}
        answer = self.cluster.call("PUT", "/v1/acl/policy/unused", policy)
        assert answer.status in {200, 400}, answer.text
        return answer.status == 200

    def grant(self, *rights: str) -> None:
        """
        With the command that the documentation gives.
        """
        file = self.cluster.home / "policy.hcl"
        file.write_text(_policy(rights))
        words = ("-namespace", "default", "-job", KEEPER, "contract", str(file))
        self.cluster.nomad("acl", "policy", "apply", *words)

    def revoke(self) -> None:
        """
        The policy goes, its file too.
        """
        assert self.cluster.call("DELETE", "/v1/acl/policy/contract").status == 200

    def was_signalled(self, allocation: str) -> bool:
        """
        Whether the task of an allocation was told to stop.
        """
        return (self.cluster.allocations_dir / allocation / "alloc" / "signalled").exists()

    def close(self) -> None:
        """
        Listen no more.
        """
        for listener in self._listeners.values():
            with suppress(OSError):
                listener.close()

    def _count(self, job: Job) -> int:
        return sum(row["JobID"] == job.id for row in self.cluster.instances(job.service))


def _policy(rights: Sequence[str]) -> str:
    return f'namespace "default" {{\n  capabilities = {json.dumps(rights)}\n}}\n'


@contextmanager
def fake_api(*, acl: bool) -> Iterator[Api]:
    """
    Let the fake answer.
    """
    with tempfile.TemporaryDirectory(prefix="ax-", dir="/tmp") as folder:
        socket = Path(folder) / "api.sock"
        with FakeNomad(socket, acl=acl) as nomad:
            yield Api(nomad.port, socket, TOKEN, FakeSide(nomad), acl)


@contextmanager
def real_api(*, acl: bool) -> Iterator[Api]:
    """
    Let `nomad agent -dev` answer.
    """
    with Cluster(split=False, acl=acl) as cluster:
        side = RealSide(cluster)
        side.run(Job(KEEPER))
        (allocation,) = cluster.allocations(KEEPER)
        socket, token = cluster.task_api(allocation["ID"], TASK)
        try:
            yield Api(cluster.server.port, socket, token, side, acl)
        finally:
            side.close()
