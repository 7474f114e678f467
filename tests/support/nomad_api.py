"""
Nomad's API as a workload has it, whether a fake or a real agent answers.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.client import Answer, get
from tests.support.cluster import Cluster
from tests.support.fake_nomad import TOKEN, FakeNomad
from tests.support.waiting import eventually

KEEPER = "keeper"


@dataclass(frozen=True, slots=True)
class Api:
    """
    Nomad's API as a workload has it: a port, its socket, its token, and a way to change things.
    """

    port: int
    socket: Path
    token: str
    offer: Callable[[str, int], None]

    def ask(self, service: str, *, timeout: float = 15.0, **query: object) -> Answer:
        """
        Ask over TCP, as the workload.
        """
        target = f"/v1/service/{service}?" + "&".join(f"{n}={v}" for n, v in query.items())
        return get(self.port, target, headers={"X-Nomad-Token": self.token}, timeout=timeout)

    def on_socket(self, service: str, **headers: str) -> Answer:
        """
        Ask the Task API with these headers.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return get(self.socket, f"/v1/service/{service}", headers=named)


@contextmanager
def fake_api(*, acl: bool) -> Iterator[Api]:
    """
    Let the fake answer.
    """
    with tempfile.TemporaryDirectory(prefix="ax-", dir="/tmp") as folder:
        socket = Path(folder) / "api.sock"
        with FakeNomad(socket, acl=acl) as nomad:

            def offer(service: str, count: int) -> None:
                nomad.set(service, [("10.0.0.1", 20000 + number) for number in range(count)])

            yield Api(nomad.port, socket, TOKEN, offer)


@contextmanager
def real_api(*, acl: bool) -> Iterator[Api]:
    """
    Let `nomad agent -dev` answer; what is offered are jobs that sleep.
    """
    with Cluster(split=False, acl=acl) as cluster:

        def offer(service: str, count: int) -> None:
            cluster.call("PUT", "/v1/jobs", {"Job": _job(service, count)})
            eventually(lambda: len(cluster.instances(service)) == count, 15)

        offer(KEEPER, 1)
        (allocation,) = cluster.allocations(KEEPER)
        socket, token = cluster.task_api(allocation["ID"], "sleep")
        yield Api(cluster.server.port, socket, token, offer)


def _job(service: str, count: int) -> dict[str, Any]:
    """
    Return a job whose instances only exist.
    """
    task = {
        "Name": "sleep",
        "Driver": "raw_exec",
        "Config": {"command": "sleep", "args": ["600"]},
        "Identities": [],
        "Identity": {"Env": True, "File": True},
        "Resources": {"CPU": 10, "MemoryMB": 10},
        "KillTimeout": 1_000_000_000,
    }
    group = {
        "Name": "group",
        "Count": count,
        "Networks": [{"DynamicPorts": [{"Label": "http"}]}],
        "Services": [{"Name": service, "PortLabel": "http", "Provider": "nomad"}],
        "Tasks": [task],
    }
    return {"ID": service, "Type": "batch", "Datacenters": ["*"], "TaskGroups": [group]}
