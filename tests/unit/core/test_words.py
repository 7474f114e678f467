"""
The words for the states of the program.
"""

from supervisor.core import words
from supervisor.core.events import Disk
from supervisor.core.lifecycle import Phase
from supervisor.core.model import Endpoint, Mode, Plan
from supervisor.core.nginx_master import MasterState


def test_every_state_has_words() -> None:
    """
    None of them is the name of a state for programs.
    """
    phases = set(Phase) - {Phase.RUNNING}
    found = [
        *map(words.mode, Mode),
        *map(words.master, MasterState),
        *map(words.disk, Disk),
        *(words.service(phase, "unknown_mode") for phase in phases),
    ]
    named = {*Mode, *MasterState, *Disk, *phases} - {Mode.STARTING, Phase.ENDED}

    assert named.isdisjoint(found)
    assert [] == [text for text in found if "_" in text.replace("STATE_DIR", "")]


def test_the_phase_comes_before_the_mode() -> None:
    """
    While it runs, the mode counts; an unknown name stays as it is.
    """
    assert "no endpoint is ready" == words.service("running", "unhealthy")
    assert "shutting down" == words.service("killing", "serve")
    assert ["new"] * 3 == [words.mode("new"), words.master("new"), words.disk("new")]


def test_the_change_of_a_plan_is_in_words() -> None:
    """
    In the list of reloads and in the log.
    """
    before = Plan((), Mode.NO_ENDPOINTS)
    after = Plan((Endpoint("10.0.0.1", 80),), Mode.SERVE)

    assert "1 endpoint added, from no endpoints to serving" == after.changes(before)
    assert "1 endpoint removed, from serving to no endpoint is ready" == Plan(
        (), Mode.UNHEALTHY
    ).changes(after)
