"""
Jobs of a few lines for a real agent: a balancer of this checkout and Python replicas, by raw_exec.
"""

import json
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.client import get
from tests.support.cluster import Cluster, Row
from tests.support.waiting import eventually

#: As `make setup` installs it; not on PATH.
PROGRAM = str(Path(sys.executable).parent / "autoexit-nginx")

SECOND = 1_000_000_000
_RESOURCES = {"CPU": 20, "MemoryMB": 64}
_TASK = {"Driver": "raw_exec", "KillTimeout": 5 * SECOND, "Resources": _RESOURCES}
_RESTARTS: Mapping[str, object] = {
    "RestartPolicy": {"Attempts": 0, "Mode": "fail"},
    "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
}


@dataclass(frozen=True, slots=True)
class Service:
    """
    A service with one instance, whose server is a Python script; `{port}` in it is its port.
    """

    name: str
    script: str = ""
    tags: tuple[str, ...] = ()
    address: str = ""

    @property
    def group(self) -> dict[str, Any]:
        """
        Its group in a job.
        """
        script = self.script or "import time; time.sleep(600)"
        return {
            "Name": f"{self.name}-{abs(hash((self.script, self.tags))) % 10**6}",
            **_RESTARTS,
            "Networks": [{"DynamicPorts": [{"Label": "http"}]}],
            "Services": [
                {
                    "Name": self.name,
                    "PortLabel": "http",
                    "Provider": "nomad",
                    "Tags": list(self.tags),
                    "Address": self.address,
                }
            ],
            "Tasks": [
                {
                    **_TASK,
                    "Name": "server",
                    "Config": {
                        "command": sys.executable,
                        "args": ["-c", script.replace("{port}", "${NOMAD_PORT_http}")],
                    },
                }
            ],
        }


@dataclass(frozen=True, slots=True)
class Balancer:
    """
    The allocation of a balancer, observed from outside.
    """

    cluster: Cluster
    allocation: str
    environ: Mapping[str, str] = field(default_factory=dict)

    def lines(self, event: str) -> list[Row]:
        """
        Return its log lines with this event id.
        """
        try:
            found = self.cluster.log_of(self.allocation, "nginx")
        except FileNotFoundError:
            return []
        return [line for line in found if line["event"] == event]

    def await_line(self, event: str, within: float = 60.0) -> Row:
        """
        Wait for a log line.
        """
        return eventually(lambda: self.lines(event), within, 0.2, f"{event} in the log")[0]

    def port_of(self, label: str) -> int:
        """
        Return the port that Nomad gave to a label of its group.
        """
        found = self.cluster.read(f"/v1/allocation/{self.allocation}")
        ports = found["AllocatedResources"]["Shared"]["Ports"]
        return next(int(port["Value"]) for port in ports if port["Label"] == label)

    @property
    def status(self) -> dict[str, Any]:
        """
        The status document, from its control socket.
        """
        task = self.cluster.allocations_dir / self.allocation / "nginx"
        socket = next(iter(sorted(task.rglob("supervisor.sock"))), None)
        if socket is None:
            (line,) = self.lines("nginx.found")
            socket = Path(line["runtime"]) / "supervisor.sock"
        found: dict[str, Any] = json.loads(get(socket, "/status").text)
        return found

    def warnings(self, kind: str) -> list[str]:
        """
        Return the texts of the status's warnings of this kind.
        """
        return [each["text"] for each in self.status["warnings"] if each["kind"] == kind]

    def command(self, *words: str) -> str:
        """
        Run a subcommand in the allocation, as a person would.
        """
        return self.cluster.nomad(
            "alloc", "exec", "-task", "nginx", self.allocation, PROGRAM, *words
        )


def run(
    cluster: Cluster,
    *services: Service,
    name: str,
    ports: Mapping[str, int] | None = None,
    image: str = "",
    has_identity: bool = True,
    sidecar: bool = False,
    **environ: str,
) -> Balancer:
    """
    Run a job with these services and a balancer, whose ports are labels with static ports; 0 is a
    dynamic one.  With an image the balancer is a container; with a sidecar its group has another
    task; without an identity it gets no token.  Returns once its log has begun.
    """
    ports = {"http": 0} if ports is None else ports
    network = {
        "DynamicPorts": [{"Label": label} for label, port in ports.items() if not port],
        "ReservedPorts": [{"Label": label, "Value": port} for label, port in ports.items() if port],
    }
    task = {
        **_TASK,
        "Name": "nginx",
        "Config": {"command": PROGRAM, "args": ["run"]},
        "Env": {"TTL": "10m", **environ},
        "Identities": [],
        "Identity": {"Env": has_identity, "File": has_identity},
        "Resources": {"CPU": 20, "MemoryMB": 128},
    }
    if image:
        task |= {"Driver": "docker", "Config": {"image": image, "ports": list(ports)}}
    config = {"command": sys.executable, "args": ["-c", "import time; time.sleep(600)"]}
    others = [{**_TASK, "Name": "sidecar", "Config": config}] if sidecar else []
    balancer = {"Name": "balancer", **_RESTARTS, "Networks": [network], "Tasks": [*others, task]}
    groups = [balancer, *(service.group for service in services)]
    name = f"{name}-{uuid.uuid4().hex[:6]}"  # an earlier job of this name has allocations too
    job = {"ID": name, "Type": "batch", "Datacenters": ["*"], "TaskGroups": groups}
    answer = cluster.call("PUT", "/v1/jobs", {"Job": job})
    assert answer.status == 200, answer.text
    (row,) = eventually(lambda: cluster.allocations(name, "balancer"), 20)
    found = Balancer(cluster, str(row["ID"]), environ)
    found.await_line("nginx.found", 20)
    return found
