"""
Scenarios of docs/troubleshooting.md that only a real agent shows.
"""

from dataclasses import dataclass

import pytest

from tests.support import small_jobs
from tests.support.cluster import Cluster
from tests.support.nomad_agent import why_no_nomad
from tests.support.troubleshooting import Scenario, Scenarios, Stage, as_text, verify

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(why_no_nomad()), reason=why_no_nomad()),
]

scenarios = Scenarios()


@dataclass(frozen=True, slots=True)
class SeenAllocation:
    """
    What a person sees of a balancer's allocation.
    """

    balancer: small_jobs.Balancer

    def lines(self, place: str) -> list[str]:
        """
        Return the lines of a place so far.
        """
        if place == "log":
            log = self.balancer.cluster.log_of(self.balancer.allocation, "nginx")
            return [as_text(line) for line in log]
        return self.balancer.command(place).splitlines()

    def run(self, command: str) -> int:
        """
        Run a command of the page in the allocation; it fails by an assertion.
        """
        self.balancer.command(*command.split()[1:])
        return 0


@scenarios.shows("no `identity` block, or one without `env` and `file`")
def no_identity(stage: Stage) -> SeenAllocation:
    """Nomad then passes no token to the task."""
    cluster = stage.stack.enter_context(Cluster(split=False))
    return SeenAllocation(
        small_jobs.run(cluster, name="identity", has_identity=False, SERVICE_NAME="web")
    )


@pytest.mark.parametrize("symptom, scenario", scenarios.params())
def test_a_row_is_what_is_reported(symptom: str, scenario: Scenario) -> None:
    """
    Its quotes are found where it says, and its commands run.
    """
    with Stage() as stage:
        verify(symptom, scenario(stage))
