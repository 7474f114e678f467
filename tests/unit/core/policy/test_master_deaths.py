"""
Exits of nginx's master: its orphaned workers, its replacement, and when the program gives up.
"""

import signal

import pytest

from supervisor.core import nginx_master
from supervisor.core.commands import Kill, QuitOrphans, Restore, SpawnMaster
from supervisor.core.errors import ExitCode
from supervisor.core.events import ChildExited, SpawnFailed, StageFailed, SwapFailed
from supervisor.core.model import ChildKind
from supervisor.core.reload import Step
from tests.support.policy_simulation import FakeSystem, Simulation, endpoints, snapshot


def kill_master(sim: Simulation, code: int = 137, output: str = "") -> None:
    """Make the running master exit."""
    sim.generation = None
    sim.send(ChildExited(sim.state.master.pid, ChildKind.MASTER, code, output))


def test_a_dead_master_is_replaced_at_once() -> None:
    """
    Its workers receive SIGQUIT, the last good files are restored, and a new master starts.
    """
    sim = Simulation(system=FakeSystem(orphans=frozenset({7, 8}))).serve(1)
    kill_master(sim)
    sim.run(0.2)

    assert 1 == len(sim.commands(QuitOrphans))
    assert 1 == len(sim.commands(Restore))
    assert 2 == len(sim.commands(SpawnMaster))
    assert sim.state.view.healthy
    assert frozenset({7, 8}) == sim.state.master.orphans

    sim.send(ChildExited(7, ChildKind.OTHER, 0))
    assert frozenset({8}) == sim.state.master.orphans


def test_the_fourth_death_within_a_minute_ends_the_program() -> None:
    """
    Three respawns are allowed; the exit code is that of the last master.
    """
    sim = Simulation().serve(1)
    for _ in range(4):
        assert sim.exit is None
        kill_master(sim, output="out of memory")
        sim.run(5)

    assert sim.exit
    assert (137, "out of memory") == (sim.exit.code, sim.exit.fields["message"])
    assert 4 == len(sim.commands(SpawnMaster))


def test_deaths_over_a_long_time_do_not_add_up() -> None:
    """
    Only deaths within a minute are counted together.
    """
    sim = Simulation().serve(1)
    for _ in range(10):
        kill_master(sim)
        sim.run(30)

    assert sim.exit is None


def test_a_master_that_exits_with_0_ends_the_program_with_70() -> None:
    """
    An unexpected exit of nginx is an error even with code 0.
    """
    sim = Simulation().serve(1)
    for _ in range(4):
        kill_master(sim, code=0)
        sim.run(5)

    assert sim.exit
    assert ExitCode.SOFTWARE == sim.exit.code


def test_a_death_before_the_first_answer_ends_the_start() -> None:
    """
    The code is 69, whatever nginx's code, with its last output; for example for a port in use.
    """
    sim = Simulation(system=FakeSystem(boot_time=9))
    sim.send(snapshot(1))
    sim.run(0.1)
    kill_master(sim, code=1, output="bind() failed")

    assert sim.exit
    assert (ExitCode.UNAVAILABLE, "bind() failed") == (sim.exit.code, sim.exit.fields["message"])
    assert "nginx exited with code 1 before it was ready" == sim.exit.reason


def test_orphans_that_may_hold_the_port_are_killed() -> None:
    """
    A new master that dies before it answers may have found the port in use by orphans.
    """
    sim = Simulation(system=FakeSystem(orphans=frozenset({7}))).serve(1)
    sim.system.boot_time = 9
    kill_master(sim)
    sim.run(0.1)
    kill_master(sim, code=1)

    assert Kill(7, signal.SIGKILL) in sim.commands(Kill)
    sim.system.boot_time = 0.02
    sim.run(3)
    assert sim.state.view.healthy


def test_a_death_during_a_reload_falls_back_to_the_last_good_files() -> None:
    """
    The attempt is abandoned with its master, and repeated once a new one answers.
    """
    sim = Simulation().serve(1)
    sim.system.reload_time = 3600
    sim.send(snapshot(2))
    sim.run(0.1)
    assert Step.LOOKING is sim.state.rollout.step
    sim.system.reload_time = 0.06
    kill_master(sim)
    sim.run(0.03)
    assert 1 == len(sim.commands(Restore))

    sim.run(3)
    assert endpoints(2) == sim.served.endpoints


def test_a_failed_respawn_is_repeated() -> None:
    """
    A failed respawn counts as a death, and is repeated.
    """
    sim = Simulation().serve(1)
    sim.system.ignored_commands = frozenset({SpawnMaster})
    kill_master(sim)
    sim.run(0.1)
    sim.send(
        SpawnFailed(ChildKind.MASTER, ExitCode.UNAVAILABLE, "Resource temporarily unavailable")
    )
    sim.system.ignored_commands = frozenset()
    sim.run(2)

    assert sim.state.view.healthy
    assert 2 == sim.notes("nginx.not_started")[0].fields["failures"]


def test_four_failed_respawns_end_the_program() -> None:
    """
    The exit code is that of the last failure.
    """
    sim = Simulation().serve(1)
    sim.system.ignored_commands = frozenset({SpawnMaster})
    kill_master(sim)
    for _ in range(3):
        sim.run(2)
        sim.send(SpawnFailed(ChildKind.MASTER, ExitCode.NOT_FOUND, "gone"))

    assert sim.exit
    assert (ExitCode.NOT_FOUND, "gone") == (sim.exit.code, sim.exit.fields["message"])


def test_a_new_master_is_started_even_if_files_cannot_be_restored() -> None:
    """
    The live files may be intact, and without nginx nothing serves.
    """
    sim = Simulation().serve(1)
    sim.system.ignored_commands = frozenset({Restore})
    kill_master(sim)
    sim.run(0.1)
    sim.live_files = sim.state.rollout.live.generation if sim.state.rollout.live else ""
    sim.send(SwapFailed(1, "Read-only file system"))
    sim.run(1)

    assert 1 == len(sim.notes("config.not_restored"))
    assert sim.state.view.healthy


def test_exits_of_other_processes_are_ignored() -> None:
    """
    PID 1 also reaps processes that it did not start.
    """
    sim = Simulation().serve(1)

    assert [] == sim.send(ChildExited(4711, ChildKind.OTHER, 1))
    assert [] == sim.send(ChildExited(4712, ChildKind.MASTER, 1))
    assert [] == sim.send(StageFailed(99, "late"))


def test_a_respawned_master_that_never_answers_is_replaced() -> None:
    """
    Each new master has START_TIMEOUT; four masters without an answer end with code 69.
    """
    sim = Simulation({"START_TIMEOUT": "2s"}).serve(1)
    sim.system.nginx_responds = False
    kill_master(sim)
    sim.run(30)

    assert sim.exit
    assert ExitCode.UNAVAILABLE == sim.exit.code
    assert "did not respond within 2s" in sim.exit.reason


def test_only_listed_transitions_are_allowed() -> None:
    """
    A master cannot become `up` without `booting`.
    """
    with pytest.raises(AssertionError, match="internal error"):
        nginx_master.enter(nginx_master.Master(), nginx_master.MasterState.UP)


def test_a_new_master_waits_for_the_port_of_the_last_one() -> None:
    """
    The orphans are about to close it; after half a second nginx itself tries.
    """
    sim = Simulation().serve(1)
    sim.system.port_busy = "0.0.0.0:8080"
    kill_master(sim)
    sim.run(0.2)
    assert not sim.state.view.healthy
    sim.run(0.5)

    assert sim.state.view.healthy
    assert sim.commands(SpawnMaster)[-1].even_if_busy
    assert 1 == len(sim.state.master.crashes)
