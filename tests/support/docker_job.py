"""
A file of `jobs/` on a real cluster with the docker driver, observed from outside.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support import containers
from tests.support.client import get
from tests.support.cluster import Cluster, Row
from tests.support.demo_job import show
from tests.support.job_variables import replica
from tests.support.waiting import eventually, free_port

#: The balancer's task; in the job with one group it is in the same allocation as its replicas.
BALANCER = "nginx"

_OVER = {"complete", "failed", "lost"}


@dataclass(frozen=True, slots=True)
class DockerJob:
    """
    The submitted job: its cluster, its ID, the public port.
    """

    cluster: Cluster
    id: str
    port: int

    @classmethod
    def run(
        cls, cluster: Cluster, file: Path, job: str, given: Mapping[str, str], *, port: int = 0
    ) -> Self:
        """
        Submit it as a user would.
        """
        port = port or free_port()
        every = {"image": containers.image(), "port": str(port), **given}
        words = [f"-var={name}={value}" for name, value in every.items()]
        cluster.nomad("job", "run", "-detach", *words, str(file))
        return cls(cluster, job, port)

    # -- from outside --------------------------------------------------------------------------

    @property
    def host(self) -> str:
        """
        The address of its published port.
        """
        return containers.bridge()

    def names(self, count: int = 24) -> set[str]:
        """
        Return the names of the replicas that respond on its port; other statuses are `a STATUS`.
        """
        answers = [get(self.port, host=self.host) for _ in range(count)]
        return {a.text if a.status == 200 else f"a {a.status}" for a in answers}

    def await_serving(self, count: int, within: float = 60.0) -> Self:
        """
        Wait until this number of different replicas responds, and no other.

        Right after a reload an old worker may still take a connection.
        """
        began = time.monotonic()
        try:
            eventually(lambda: self.is_served_by(count), within, 0.1, f"{count} that respond")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.diagnostics}") from error
        show(f"{self.id}: waited {time.monotonic() - began:.1f} s until {count} respond")
        return self

    def is_served_by(self, count: int) -> bool:
        """
        Whether this number of different replicas responds now, and no other.
        """
        names = self.names()
        return len(names) == count and all(name.startswith("replica") for name in names)

    # -- as Nomad reports it -------------------------------------------------------------------

    def allocations(self, group: str = "") -> list[Row]:
        """
        Return all its allocations, or those of a group, the oldest first.
        """
        rows = self.cluster.allocations(self.id, group)
        return sorted(rows, key=lambda row: int(row["CreateIndex"]))

    def running(self, group: str) -> list[str]:
        """
        Return the allocations of a group that run and are not being stopped.
        """
        return [
            row["ID"]
            for row in self.allocations(group)
            if (row["ClientStatus"], row["DesiredStatus"]) == ("running", "run")
        ]

    def scale(self, count: int) -> None:
        """
        Scale the replicas; return as soon as Nomad accepts it.
        """
        self.cluster.nomad("job", "scale", "-detach", self.id, "replicas", str(count))

    def await_running(self, count: int, within: float = 60.0) -> None:
        """
        Wait until this number of replicas runs, and no other allocation of theirs is still ending.
        """
        eventually(
            lambda: (
                len(self.running("replicas"))
                == count
                == sum(row["ClientStatus"] not in _OVER for row in self.allocations("replicas"))
            ),
            within,
            0.1,
            f"{count} running replicas",
        )

    def await_over(self, within: float = 60.0) -> None:
        """
        Wait until none of its allocations runs.
        """
        try:
            eventually(
                lambda: all(row["ClientStatus"] in _OVER for row in self.allocations()),
                within,
                0.1,
                "all its allocations to end",
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.diagnostics}") from error

    @property
    def endings(self) -> Counter[tuple[str, str]]:
        """
        The results of its allocations: status and the last exit code of each task.
        """
        return Counter(
            (row["ClientStatus"], code)
            for row in self.allocations()
            for task in row["TaskStates"]
            if task != "exec"
            for code in exit_codes(row, task)[-1:]
        )

    @property
    def diagnostics(self) -> str:
        """
        Nomad's events and the balancers' logs, for error messages.
        """
        lines = []
        for row in self.allocations():
            lines.append(f"{row['ID'][:8]} {row['TaskGroup']} {row['ClientStatus']}")
            for task, state in (row["TaskStates"] or {}).items():
                events = state["Events"] or []
                lines += [f"  {task}: {each['Type']}: {each['DisplayMessage']}" for each in events]
            if BALANCER in (row["TaskStates"] or {}):
                lines += [f"    {line}" for line in self._log_of(row["ID"])[-60:]]
                lines += [f"    {line}" for line in self._stderr_of(row["ID"])]
        return "\n".join(lines)

    # -- the balancer --------------------------------------------------------------------------

    @property
    def balancer(self) -> str:
        """
        The newest allocation with a balancer.
        """
        with_one = [row for row in self.allocations() if row["TaskGroup"] in {"balancer", "all"}]
        return str(with_one[-1]["ID"])

    def log_lines(self, event: str, allocation: str = "") -> list[Row]:
        """
        Return the log lines of this event of a balancer, by default of the newest.
        """
        lines = self._log_of(allocation or self.balancer)
        return [line for line in lines if line["event"] == event]

    def _log_of(self, allocation: str) -> list[Row]:
        try:
            return self.cluster.log_of(allocation, BALANCER)
        except FileNotFoundError:
            return []

    def _stderr_of(self, allocation: str) -> list[str]:
        file = self.cluster.logs_of(allocation) / f"{BALANCER}.stderr.0"
        return file.read_text().splitlines()[-15:] if file.exists() else []


def exit_codes(allocation: Row, task: str) -> list[str]:
    """
    Return the exit codes of all runs of a task.
    """
    events = allocation["TaskStates"][task]["Events"]
    return [each["Details"]["exit_code"] for each in events if each["Type"] == "Terminated"]


@contextmanager
def submitted(cluster: Cluster, file: Path, job: str, **given: str) -> Iterator[DockerJob]:
    """
    Run a job file with replicas that load for a second, and stop it in any case.
    """
    found = DockerJob.run(cluster, file, job, {**replica(1.0), "health_path": "/", **given})
    try:
        yield found
    finally:
        cluster.nomad("job", "stop", "-detach", "-no-shutdown-delay", job)
        cluster.stop_jobs()
        cluster.nomad("job", "stop", "-purge", "-detach", job)
