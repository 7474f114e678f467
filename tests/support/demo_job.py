"""
`jobs/demo.nomad.hcl` on a real cluster, observed from outside.
"""

import sys
import time
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from threading import Thread
from typing import Self

from tests.support.client import get
from tests.support.cluster import Cluster, Row
from tests.support.waiting import eventually, free_port

SERVICE = "demo-replicas"


@dataclass(frozen=True, slots=True)
class DemoJob:
    """
    The running job: its cluster, the balancer's allocation, the public port.
    """

    cluster: Cluster
    allocation: str
    port: int

    @classmethod
    def run(cls, cluster: Cluster, ttl: str) -> Self:
        """
        Submit it as a user would, and wait until both replicas respond through the balancer.
        """
        port = free_port()
        began = time.monotonic()
        variables = [f"-var=ttl={ttl}", f"-var=port={port}"]
        cluster.nomad("job", "run", "-detach", *variables, "jobs/demo.nomad.hcl")
        balancers = eventually(lambda: cluster.allocations("demo", "balancer"), 20)
        job = cls(cluster, balancers[0]["ID"], port)
        try:
            eventually(lambda: job.responding() == {"replica 0", "replica 1"}, 25, 0.05)
            eventually(partial(job._reload, 0, 2), what="a log line that both are served")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{job.log}\n{cluster.agents[-1].log_tail}") from error
        show(f"submitted -> both replicas answer: {time.monotonic() - began:.2f} s")
        return job

    @property
    def balancer(self) -> Row:
        """
        The only allocation of the balancer, as Nomad reports it now.
        """
        (row,) = self.cluster.allocations("demo", "balancer")
        return row

    @property
    def log(self) -> list[Row]:
        """
        The balancer's log so far.
        """
        return self.cluster.log_of(self.allocation, "nginx")

    def log_lines(self, event: str) -> list[Row]:
        """
        Return its log lines of this event.
        """
        return [line for line in self.log if line["event"] == event]

    def responding(self) -> set[str]:
        """
        Return the names of the replicas that respond on its port, by a few requests.
        """
        answers = [get(self.port) for _ in range(12)]
        return {answer.text.strip() for answer in answers if answer.status == 200}

    def scale(self, count: int) -> Row:
        """
        Scale the replicas with `nomad job scale`, and return the log line of the last reload.
        """
        before = len(self.log)
        words = ("job", "scale", "-detach", "demo", "replicas", str(count))
        command = Thread(target=self.cluster.nomad, args=words)
        began = time.time()
        command.start()
        eventually(lambda: len(self.cluster.instances(SERVICE)) == count, 15, 0.001)
        changed = time.time()
        (reload,) = eventually(partial(self._reload, before, count), what=f"reload to {count}")
        command.join()
        show(
            f"scaled to {count}: command -> registry changed {changed - began:.3f} s,"
            f" registry changed -> reload.applied {when(reload) - changed:.3f} s"
        )
        for line in self.log[before:]:
            show(f"  {line}")
        return reload

    def _reload(self, before: int, count: int) -> list[Row]:
        lines = [line for line in self.log[before:] if line["event"] == "reload.applied"]
        return [line for line in lines if line["endpoints"] == count][:1]


def when(line: Row) -> float:
    """
    Return the time of a log line in epoch seconds.
    """
    return datetime.fromisoformat(line["time"]).timestamp()


def show(text: str) -> None:
    """
    Print a measurement; `make e2e` shows it for passed tests, too.
    """
    sys.stdout.write(text + "\n")
