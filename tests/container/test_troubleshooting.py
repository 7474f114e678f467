"""
Scenarios of docs/troubleshooting.md that only a container shows.
"""

import json
import shlex
import subprocess
from dataclasses import dataclass

import pytest

from tests.support.container import Container
from tests.support.engine import engine, why_no_image
from tests.support.troubleshooting import Scenario, Scenarios, Stage, as_text, verify

scenarios = Scenarios()


@dataclass(frozen=True, slots=True)
class SeenContainer:
    """
    What a person sees of a container: its log has stderr too.
    """

    container: Container

    def lines(self, place: str) -> list[str]:
        """
        Return the lines of a place so far.
        """
        if place in {"log", "stderr"}:
            is_log = place == "log"
            found = [each for each in self.container.lines if each.startswith("{") is is_log]
            return [as_text(json.loads(each)) for each in found] if is_log else found
        return self.container.inside("autoexit-nginx", place).splitlines()

    def run(self, command: str) -> int:
        """
        Run a command of the page in the container, and return its exit code.
        """
        words = [engine(), "exec", self.container.name, *shlex.split(command)]
        return subprocess.run(words, capture_output=True, check=False, timeout=30).returncode


@scenarios.shows("78, a read-only root")
def read_only_root(stage: Stage) -> SeenContainer:
    """Without a folder in memory."""
    return contained(stage, "--read-only")


@scenarios.shows("the same in a container, the endpoint is `127.0.0.1`")
def loopback(stage: Stage) -> SeenContainer:
    """A replica on the host."""
    return contained(stage)


@scenarios.shows("refused, and the group has no `network` block")
def no_network_block(stage: Stage) -> SeenContainer:
    """Nomad then sets no variable with a port."""
    return contained(stage, "--env", "NOMAD_ALLOC_ID=9f6d5ac4-0000-4000-8000-000000000000")


def contained(stage: Stage, *options: str) -> SeenContainer:
    """
    Start a container of the image.
    """
    if why_no_image():
        pytest.skip(why_no_image())
    return SeenContainer(stage.stack.enter_context(Container(options=options)))


@pytest.mark.parametrize("symptom, scenario", scenarios.params())
def test_a_row_is_what_is_reported(symptom: str, scenario: Scenario) -> None:
    """
    Its quotes are found where it says, and its commands run.
    """
    with Stage() as stage:
        verify(symptom, scenario(stage))
