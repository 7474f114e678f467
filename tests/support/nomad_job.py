"""
A job whose instances only sleep, for the contract tests, and its Nomad job description.
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
    A job with `count` instances of a service.

    `name` defaults to the service.  `checked`: the interval of its check in seconds, 0 without one.
    `delay`: the shutdown delay, in seconds, from deregistration to the signal.
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
        The job ID in the registry.
        """
        return self.name or self.service


def description(job: Job, port: int) -> dict[str, Any]:
    """
    Return the job for a real agent; `port` is the reserved port of a job with checks.
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
