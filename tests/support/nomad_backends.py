"""
The two backends of the contract tests: the fake, and a real agent whose jobs only sleep.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.checkout import CHECKOUT
from tests.support.cluster import Cluster
from tests.support.fake_nomad import TOKEN, FakeNomad
from tests.support.listening import Listener
from tests.support.nomad_api import Api
from tests.support.nomad_job import CHECK, TASK, Job, description
from tests.support.nomad_registry import row
from tests.support.waiting import eventually, free_port

#: The job of the workload whose token the requests use.
CLIENT_JOB = "client"


class FakeBackend:
    """
    Changes the state of the fake.
    """

    def __init__(self, nomad: FakeNomad) -> None:
        self._nomad = nomad
        self._port = 20000

    def run(self, job: Job) -> None:
        """
        Keep the existing instances; remove or add instances up to the count.
        """
        rows: list[Any] = self._nomad._registry.rows(("default", job.service))
        existing = [known for known in rows if known["JobID"] == job.id][: job.count]
        kept = [known for known in rows if known["JobID"] != job.id]
        index = self._nomad.index + 1
        new = [
            row(job.service, "10.0.0.1", self._next_port(), job=job.id, tags=job.tags, index=index)
            for _ in range(job.count - len(existing))
        ]
        self._nomad.rows(job.service, [*kept, *existing, *new])
        for added in new:
            found = {CHECK: "pending"} if job.checked else None
            self._nomad.checks(str(added["AllocID"]), found)

    def set_listening(self, service: str, *, listening: bool) -> None:
        """
        Set the status of its check accordingly.
        """
        rows: list[Any] = self._nomad._registry.rows(("default", service))
        for found in rows:
            self._nomad.checks(found["AllocID"], {CHECK: "success" if listening else "failure"})

    def restart(self, allocation: str) -> None:
        """
        Restart as Nomad does.
        """
        self._nomad.restart(allocation)

    def supports(self, capability: str) -> bool:
        """
        Support everything, like the newest Nomad.
        """
        return True

    def grant(self, *capabilities: str) -> None:
        """
        Grant them to every valid token.
        """
        self._nomad.rights.update(capabilities)

    def revoke(self) -> None:
        """
        Revoke all of them.
        """
        self._nomad.rights.clear()

    def put_variable(self, path: str, **items: str) -> None:
        """
        Write it.
        """
        self._nomad.variables.put(path, items)

    def purge_variable(self, path: str) -> None:
        """
        Delete it.
        """
        self._nomad.variables.purge(path)

    def grant_variable(self, path: str) -> None:
        """
        Grant the right to the own job's variable.
        """
        assert path == f"nomad/jobs/{CLIENT_JOB}"
        self._nomad.rights.add("write")

    def _next_port(self) -> int:
        self._port += 1
        return self._port


class RealBackend:
    """
    Changes the state of a real agent.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._ports: dict[str, int] = {}
        self._listeners: dict[str, Listener] = {}

    def run(self, job: Job) -> None:
        """
        Submit it; a job with checks gets a port of this backend, without a listener yet.
        """
        if job.checked:
            self._ports[job.service] = free_port()
        answer = self.cluster.call(
            "PUT", "/v1/jobs", {"Job": description(job, self._ports.get(job.service, 0))}
        )
        assert answer.status == 200, answer.text
        eventually(lambda: self._count(job) == job.count, 15)

    def set_listening(self, service: str, *, listening: bool) -> None:
        """
        Listen in this process: the check only connects to the port.
        """
        if service not in self._listeners:
            address = ("127.0.0.1", self._ports[service])
            self._listeners[service] = Listener(address, lambda _: None)
        if listening:
            self._listeners[service].open()
        else:
            self._listeners[service].close()

    def restart(self, allocation: str) -> None:
        """
        Restart with the `nomad` command.
        """
        self.cluster.nomad("alloc", "restart", allocation)

    def supports(self, capability: str) -> bool:
        """
        Create an unused policy with the capability.
        """
        policy = {"Name": "unused", "Rules": _policy((capability,))}
        answer = self.cluster.call("PUT", "/v1/acl/policy/unused", policy)
        assert answer.status in {200, 400}, answer.text
        return answer.status == 200

    def grant(self, *capabilities: str) -> None:
        """
        Apply a policy with the command from the documentation.
        """
        file = self.cluster.home / "policy.hcl"
        file.write_text(_policy(capabilities))
        words = ("-namespace", "default", "-job", CLIENT_JOB, "contract", str(file))
        self.cluster.nomad("acl", "policy", "apply", *words)

    def revoke(self) -> None:
        """
        Delete the policy.
        """
        assert self.cluster.call("DELETE", "/v1/acl/policy/contract").status == 200

    def put_variable(self, path: str, **items: str) -> None:
        """
        Write it with the `nomad` command.
        """
        words = [f"{name}={text}" for name, text in items.items()]
        self.cluster.nomad("var", "put", "-force", path, *words)

    def purge_variable(self, path: str) -> None:
        """
        Delete it.
        """
        assert self.cluster.call("DELETE", f"/v1/var/{path}").status in {200, 204}

    def grant_variable(self, path: str) -> None:
        """
        Apply the documented policy.
        """
        rules = (CHECKOUT / "jobs/extend.policy.hcl").read_text()
        file = self.cluster.home / "extend.hcl"
        file.write_text(rules.replace("JOB", path.rpartition("/")[2]))
        words = ("-namespace", "default", "-job", CLIENT_JOB, "contract", str(file))
        self.cluster.nomad("acl", "policy", "apply", *words)

    def was_signalled(self, allocation: str) -> bool:
        """
        Whether the task of an allocation was signalled.
        """
        return (self.cluster.allocations_dir / allocation / "alloc" / "signalled").exists()

    def close(self) -> None:
        """
        Close all listeners.
        """
        for listener in self._listeners.values():
            with suppress(OSError):
                listener.close()

    def _count(self, job: Job) -> int:
        return sum(row["JobID"] == job.id for row in self.cluster.instances(job.service))


def _policy(capabilities: Sequence[str]) -> str:
    return f'namespace "default" {{\n  capabilities = {json.dumps(capabilities)}\n}}\n'


@contextmanager
def fake_api(*, acl: bool) -> Iterator[Api]:
    """
    Yield an API of the fake.
    """
    with tempfile.TemporaryDirectory(prefix="ax-", dir="/tmp") as folder:
        socket = Path(folder) / "api.sock"
        with FakeNomad(socket, acl=acl) as nomad:
            nomad.variables.job = CLIENT_JOB
            yield Api(nomad.port, socket, TOKEN, FakeBackend(nomad), acl)


@contextmanager
def real_api(*, acl: bool) -> Iterator[Api]:
    """
    Yield an API of `nomad agent -dev`.
    """
    with Cluster(split=False, acl=acl) as cluster:
        backend = RealBackend(cluster)
        backend.run(Job(CLIENT_JOB))
        (allocation,) = cluster.allocations(CLIENT_JOB)
        socket, token = cluster.task_api(allocation["ID"], TASK)
        try:
            yield Api(cluster.server.port, socket, token, backend, acl)
        finally:
            backend.close()
