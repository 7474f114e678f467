"""
`jobs/demo.nomad.hcl` on a real cluster, and what it can be seen to do.
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
    The job, running: its cluster, the balancer's allocation, the public port.
    """

    cluster: Cluster
    allocation: str
    port: int

    @classmethod
    def run(cls, cluster: Cluster, ttl: str) -> Self:
        """
        Submit it as a person would, and wait until both replicas answer through the balancer.
        """
        port = free_port()
        began = time.monotonic()
        given = [f"-var=ttl={ttl}", f"-var=port={port}"]
        cluster.nomad("job", "run", "-detach", *given, "jobs/demo.nomad.hcl")
        balancers = eventually(lambda: cluster.allocations("demo", "balancer"), 20)
        job = cls(cluster, balancers[0]["ID"], port)
        try:
            eventually(lambda: job.serving() == {"replica 0", "replica 1"}, 25, 0.05)
            eventually(partial(job._reload, 0, 2), what="its own word that both are served")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{job.log}\n{cluster.agents[-1].last_words}") from error
        show(f"submitted -> both replicas answer: {time.monotonic() - began:.2f} s")
        return job

    @property
    def balancer(self) -> Row:
        """
        The one allocation that the balancer ever had, as Nomad has it now.
        """
        (row,) = self.cluster.allocations("demo", "balancer")
        return row

    @property
    def log(self) -> list[Row]:
        """
        What the balancer said so far.
        """
        return self.cluster.log_of(self.allocation, "nginx")

    def log_lines(self, event: str) -> list[Row]:
        """
        Return its lines of this event.
        """
        return [line for line in self.log if line["event"] == event]

    def serving(self) -> set[str]:
        """
        Return who answers through its port, asking a few times.
        """
        answers = [get(self.port) for _ in range(12)]
        return {answer.text.strip() for answer in answers if answer.status == 200}

    def scale(self, count: int) -> Row:
        """
        Scale the replicas with `nomad job scale`, and return the last reload that followed.
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
    Return the moment of a log line.
    """
    return datetime.fromisoformat(line["time"]).timestamp()


def show(text: str) -> None:
    """
    Say what was measured; `make e2e` shows it of tests that passed, too.
    """
    sys.stdout.write(text + "\n")
