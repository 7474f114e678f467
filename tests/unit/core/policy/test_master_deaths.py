"""
Deaths of nginx, as histories: what is told to its orphans, who comes after it, and when to give up.
"""

import signal

import pytest

from supervisor.core import nginx_master
from supervisor.core.commands import Kill, QuitOrphans, Restore, SpawnMaster
from supervisor.core.errors import ExitCode
from supervisor.core.events import ChildExited, SpawnFailed, StageFailed, SwapFailed
from supervisor.core.model import ChildKind
from supervisor.core.reload import Step
from tests.support.play import Play, World, arrives, endpoints


def dies(play: Play, code: int = 137, output: str = "") -> None:
    """Let the master that runs die."""
    play._generation = None
    play.send(ChildExited(play.state.master.pid, ChildKind.MASTER, code, output))


def test_a_dead_master_is_followed_by_another_at_once() -> None:
    """
    Its workers are told to QUIT, the last good files are made sure of, and a new master starts.
    """
    play = Play(world=World(orphans=frozenset({7, 8}))).serve(1)
    dies(play)
    play.run(0.2)

    assert 1 == len(play.all(QuitOrphans))
    assert 1 == len(play.all(Restore))
    assert 2 == len(play.all(SpawnMaster))
    assert play.state.view.healthy
    assert frozenset({7, 8}) == play.state.master.orphans

    play.send(ChildExited(7, ChildKind.OTHER, 0))
    assert frozenset({8}) == play.state.master.orphans


def test_the_fourth_death_within_a_minute_is_given_up_on() -> None:
    """
    Three respawns are forgiven; the code is the last master's own.
    """
    play = Play().serve(1)
    for _ in range(4):
        assert play.exit is None
        dies(play, output="out of memory")
        play.run(5)

    assert play.exit
    assert (137, "out of memory") == (play.exit.code, play.exit.fields["message"])
    assert 4 == len(play.all(SpawnMaster))


def test_deaths_over_a_long_time_are_forgiven() -> None:
    """
    Only deaths within a minute count together.
    """
    play = Play().serve(1)
    for _ in range(10):
        dies(play)
        play.run(30)

    assert play.exit is None


def test_a_master_that_claims_success_is_not_believed() -> None:
    """
    Nginx that ends by itself with 0 has not done what it was started for: 70.
    """
    play = Play().serve(1)
    for _ in range(4):
        dies(play, code=0)
        play.run(5)

    assert play.exit
    assert ExitCode.SOFTWARE == play.exit.code


def test_a_death_before_the_first_answer_ends_the_start() -> None:
    """
    A taken port, say: 69, whatever nginx's own code, with its last words.
    """
    play = Play(world=World(boot=9))
    play.send(arrives(1))
    play.run(0.1)
    dies(play, code=1, output="bind() failed")

    assert play.exit
    assert (ExitCode.UNAVAILABLE, "bind() failed") == (play.exit.code, play.exit.fields["message"])
    assert "nginx ended with 1 before its first answer" == play.exit.reason


def test_orphans_that_hold_the_port_are_killed_in_the_end() -> None:
    """
    A new master that dies before it answers may have met them: they had their chance to go.
    """
    play = Play(world=World(orphans=frozenset({7}))).serve(1)
    play.world.boot = 9
    dies(play)
    play.run(0.1)
    dies(play, code=1)

    assert Kill(7, signal.SIGKILL) in play.all(Kill)
    play.world.boot = 0.02
    play.run(3)
    assert play.state.view.healthy


def test_a_death_during_a_reload_falls_back_to_the_last_good_files() -> None:
    """
    The attempt is forgotten with its master, and begun again once a new one answers.
    """
    play = Play().serve(1)
    play.world.reload = 3600
    play.send(arrives(2))
    play.run(0.1)
    assert Step.LOOKING is play.state.rollout.step
    play.world.reload = 0.06
    dies(play)
    play.run(0.03)
    assert 1 == len(play.all(Restore))

    play.run(3)
    assert endpoints(2) == play.served.endpoints


def test_a_master_that_cannot_be_started_again_is_tried_again() -> None:
    """
    Too many processes just now: a failed respawn counts like a death, and is repeated.
    """
    play = Play().serve(1)
    play.world.silent_orders = frozenset({SpawnMaster})
    dies(play)
    play.run(0.1)
    play.send(
        SpawnFailed(ChildKind.MASTER, ExitCode.UNAVAILABLE, "Resource temporarily unavailable")
    )
    play.world.silent_orders = frozenset()
    play.run(2)

    assert play.state.view.healthy
    assert 2 == play.notes("nginx.not_started")[0].fields["failures"]


def test_a_master_that_can_never_be_started_again_ends_the_program() -> None:
    """
    Four failures in a row are enough.
    """
    play = Play().serve(1)
    play.world.silent_orders = frozenset({SpawnMaster})
    dies(play)
    for _ in range(3):
        play.run(2)
        play.send(SpawnFailed(ChildKind.MASTER, ExitCode.NOT_FOUND, "gone"))

    assert play.exit
    assert (ExitCode.NOT_FOUND, "gone") == (play.exit.code, play.exit.fields["message"])


def test_a_new_master_is_started_even_when_its_files_cannot_be_mended() -> None:
    """
    The files may be whole; without nginx nothing serves at all.
    """
    play = Play().serve(1)
    play.world.silent_orders = frozenset({Restore})
    dies(play)
    play.run(0.1)
    play._disk = play.state.rollout.live.generation if play.state.rollout.live else ""
    play.send(SwapFailed(1, "Read-only file system"))
    play.run(1)

    assert 1 == len(play.notes("config.not_restored"))
    assert play.state.view.healthy


def test_deaths_of_strangers_are_no_concern() -> None:
    """
    A PID 1 reaps whoever was left behind.
    """
    play = Play().serve(1)

    assert [] == play.send(ChildExited(4711, ChildKind.OTHER, 1))
    assert [] == play.send(ChildExited(4712, ChildKind.MASTER, 1))
    assert [] == play.send(StageFailed(99, "late"))


def test_a_respawned_master_that_never_answers_is_replaced() -> None:
    """
    Each new master has START_TIMEOUT; those that stay dark use up the forgiven deaths: 69.
    """
    play = Play({"START_TIMEOUT": "2s"}).serve(1)
    play.world.answers = False
    dies(play)
    play.run(30)

    assert play.exit
    assert ExitCode.UNAVAILABLE == play.exit.code
    assert "did not answer within 2s" in play.exit.reason


def test_only_the_ways_of_the_table_are_taken() -> None:
    """
    A master cannot come up without booting.
    """
    with pytest.raises(AssertionError, match="internal error"):
        nginx_master.enter(nginx_master.Master(), nginx_master.MasterState.UP)
