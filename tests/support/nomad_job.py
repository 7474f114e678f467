"""
A job whose instances only exist, for the contract: what a test asks for, and as Nomad reads it.
"""

from dataclasses import dataclass
from typing import Any

SECOND = 1_000_000_000

CHECK = "alive"
TASK = "sleep"

_SCRIPT = """trap 'touch "$NOMAD_ALLOC_DIR/signalled"; exit' INT TERM; sleep 600 & wait"""


@dataclass(frozen=True, slots=True)
class Job:
    """
    A job with `count` instances of a service, whose checks, if any, run every `checked` seconds.

    It is named after the service unless a name is given.  `delay`: so long Nomad waits before the
    signal, in seconds, once it stops one.
    """

    service: str
    count: int = 1
    name: str = ""
    tags: tuple[str, ...] = ()
    checked: int = 0
    delay: float = 0.0

    @property
    def id(self) -> str:
        """
        What the registry calls it.
        """
        return self.name or self.service


def description(job: Job, port: int) -> dict[str, Any]:
    """
    Return the job for a real agent; a checked one says that it listens at this port.
    """
    task = {
        "Name": TASK,
        "Driver": "raw_exec",
        "Config": {"command": "sh", "args": ["-c", _SCRIPT]},
        "Identities": [],
        "Identity": {"Env": True, "File": True},
        "Resources": {"CPU": 10, "MemoryMB": 10},
        "KillTimeout": SECOND,
    }
    service: dict[str, Any] = {
        "Name": job.service,
        "PortLabel": "http",
        "Provider": "nomad",
        "Tags": list(job.tags),
    }
    network: dict[str, Any] = {"DynamicPorts": [{"Label": "http"}]}
    if job.checked:
        check = {"Type": "tcp", "Name": CHECK, "Interval": job.checked * SECOND}
        service["Checks"] = [{**check, "Timeout": SECOND}]
        network = {"ReservedPorts": [{"Label": "http", "Value": port}]}
    group = {
        "Name": "group",
        "Count": job.count,
        "ShutdownDelay": int(job.delay * SECOND),
        "Networks": [network],
        "Services": [service],
        "Tasks": [task],
    }
    return {"ID": job.id, "Type": "batch", "Datacenters": ["*"], "TaskGroups": [group]}
