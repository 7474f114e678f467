"""
The end, as histories: every wait has an end, and the end is code 0.
"""

import signal
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import lifecycle
from supervisor.core.commands import Exit, Kill, QuitOrphans, SpawnMaster
from supervisor.core.events import (
    ChildExited,
    ConnectionsCounted,
    Event,
    GenerationReported,
    OrphansFound,
    SignalArrived,
    Spawned,
)
from supervisor.core.lifecycle import Lifetime, Phase
from supervisor.core.model import NEVER, ChildKind
from tests.support.policy_simulation import FakeSystem, Simulation, snapshot

STUBBORN = FakeSystem(effective_signals=frozenset({signal.SIGKILL}))


def test_the_deadline_drains_and_leaves_with_0() -> None:
    """
    At the deadline nginx is told to QUIT, and when it is gone the program leaves.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    sim.run(3600)

    assert sim.exit
    assert (0, "deadline") == (sim.exit.code, sim.exit.reason)
    assert [4600.0] == sim.signals(signal.SIGQUIT)


def test_the_order_to_quit_comes_before_anything_is_said() -> None:
    """
    Not even a log line comes between the deadline and nginx.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    before = len(sim.issued)
    sim.run(3600)

    ending = [command for at, command in sim.issued[before:] if at == 4600.0]
    assert isinstance(ending[0], Kill)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_each_stop_signal_means_the_same(signum: int) -> None:
    """
    Docker sends TERM or the image's STOPSIGNAL, raw_exec INT: all mean stop.
    """
    sim = Simulation().serve(1)
    sim.send(SignalArrived(signum))
    sim.run(1)

    assert sim.exit
    assert (0, "stop signal") == (sim.exit.code, sim.exit.reason)


def test_the_ladder_has_three_rungs() -> None:
    """
    QUIT at 0, TERM one second before the end, KILL 0.3 s before it: with 4 s at 0, 3 and 3.7.
    """
    sim = Simulation({"STOP_TIMEOUT": "4s"}, system=STUBBORN).serve(1)
    sim.system.open_connections = 3
    start = sim.now
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(10)

    rungs = [
        sim.signals(rung)[0] - start for rung in (signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL)
    ]
    assert pytest.approx([0.0, 3.0, 3.7]) == rungs
    assert sim.exit
    assert (0, 3) == (sim.exit.code, sim.exit.fields["connections_cut"])


def test_a_short_ladder_gives_half_to_quit() -> None:
    """
    With 1 s TERM comes half-way, as its last second would be all there is.
    """
    sim = Simulation({"STOP_TIMEOUT": "1s"}, system=STUBBORN).serve(1)
    start = sim.now
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(10)

    assert pytest.approx([0.5, 0.7]) == [
        sim.signals(rung)[0] - start for rung in (signal.SIGTERM, signal.SIGKILL)
    ]


def test_no_time_at_all_is_an_end_too() -> None:
    """
    STOP_TIMEOUT=0 goes down the ladder in one step.
    """
    sim = Simulation({"STOP_TIMEOUT": "0"}).serve(1)
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(1)

    assert sim.exit
    assert 0 == sim.exit.code


def test_what_survives_kill_does_not_hold_us() -> None:
    """
    A process stuck in the kernel is left behind, and said.
    """
    sim = Simulation(system=FakeSystem(effective_signals=frozenset())).serve(1)
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(4)

    assert sim.exit
    assert (0, 1) == (sim.exit.code, sim.exit.fields["still_running"])


def test_the_second_signal_makes_it_fast_and_the_third_immediate() -> None:
    """
    Whoever presses Ctrl-C twice does not want to wait for requests.
    """
    sim = Simulation(
        {"STOP_TIMEOUT": "60s"}, system=FakeSystem(effective_signals=frozenset())
    ).serve(1)
    for _ in range(2):
        sim.send(SignalArrived(signal.SIGINT))
        sim.run(0.1)
    assert 1 == len(sim.signals(signal.SIGTERM))
    assert [] == sim.signals(signal.SIGKILL)

    sim.send(SignalArrived(signal.SIGINT))
    assert 1 == len(sim.signals(signal.SIGKILL))
    sim.run(0.5)
    assert sim.exit


def test_the_second_signal_alone_ends_within_a_second() -> None:
    """
    TERM at once, KILL soon after.
    """
    sim = Simulation({"STOP_TIMEOUT": "60s"}, system=STUBBORN).serve(1)
    start = sim.now
    for _ in range(2):
        sim.send(SignalArrived(signal.SIGTERM))
    sim.run(5)

    assert sim.exit
    assert sim.times(Exit)[0] - start <= 1.0


def test_a_stop_signal_during_the_drain_shortens_it() -> None:
    """
    Nomad's kill_timeout counts from its signal, whatever DRAIN_TIMEOUT had in mind.
    """
    sim = Simulation({"TTL": "10s", "DRAIN_TIMEOUT": "10m", "STOP_TIMEOUT": "4s"}, system=STUBBORN)
    sim.serve(1)
    sim.run(30)
    asked = sim.now
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(60)

    assert sim.exit
    assert sim.times(Exit)[0] - asked <= 4.0
    assert "deadline" == sim.exit.reason


def test_a_stop_signal_late_in_the_drain_does_not_prolong_it() -> None:
    """
    A drain that is nearly over ends when it would have.
    """
    sim = Simulation({"TTL": "10s", "DRAIN_TIMEOUT": "5s", "STOP_TIMEOUT": "60s"}, system=STUBBORN)
    sim.serve(1)
    sim.run(9 + 4.5)
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(60)

    assert sim.times(Exit)[0] <= 1015.0


def test_before_nginx_runs_there_is_nothing_to_wait_for() -> None:
    """
    A stop signal while discovery is awaited ends at once.
    """
    sim = Simulation({"START_WAIT": "10s"}).run(1)
    sim.send(SignalArrived(signal.SIGTERM))

    assert sim.exit
    assert 0 == sim.exit.code


def test_an_nginx_that_boots_is_told_to_quit_too() -> None:
    """
    Whether it dies of the signal or obeys it, it is what was asked for: 0.
    """
    sim = Simulation(system=FakeSystem(boot_time=60))
    sim.send(snapshot(1))
    sim.run(0.1)
    sim.send(SignalArrived(signal.SIGTERM))
    assert 1 == len(sim.signals(signal.SIGQUIT))
    sim.run(1)

    assert sim.exit
    assert 0 == sim.exit.code


def test_a_check_under_way_is_ended() -> None:
    """
    `nginx -t` that hangs does not outlive us.
    """
    sim = Simulation({"TTL": "10s"}).serve(1)
    sim.system.check_time = 3600
    sim.run(7)
    sim.send(snapshot(2))
    sim.run(0.5)
    check = sim.state.rollout.check
    sim.run(5)

    assert sim.exit
    assert Kill(check, signal.SIGKILL, group=True) in sim.commands(Kill)


@pytest.mark.parametrize(
    "kind, answer",
    [
        (ChildKind.MASTER, Kill(500, signal.SIGQUIT)),
        (ChildKind.CHECK, Kill(500, signal.SIGKILL, group=True)),
    ],
)
def test_a_child_that_starts_too_late_is_sent_away(kind: ChildKind, answer: Kill) -> None:
    """
    It was ordered before the end began, and reports after it.
    """
    sim = Simulation(system=FakeSystem(ignored_commands=frozenset({SpawnMaster})))
    sim.send(snapshot(1))
    sim.run(0.1)
    ending = lifecycle.drain(sim.state.lifetime, "deadline", 30.0, sim.now)
    sim.state = replace(sim.state, lifetime=ending)

    assert answer == sim.send(Spawned(kind, 500))[0]


def test_a_master_killed_in_the_drain_leaves_workers_that_still_drain() -> None:
    """
    Its orphans are told to QUIT and waited for; the last of them ends the drain.
    """
    sim = Simulation(
        system=FakeSystem(effective_signals=frozenset(), orphans=frozenset({7}))
    ).serve(1)
    sim.send(SignalArrived(signal.SIGTERM))
    sim.send(ChildExited(sim.state.master.pid, ChildKind.MASTER, 137))
    assert 1 == len(sim.commands(QuitOrphans))
    sim.run(1)
    assert sim.exit is None

    sim.send(ChildExited(7, ChildKind.OTHER, 0))
    assert sim.exit
    assert 0 == sim.exit.code


def test_orphans_from_before_are_part_of_the_end() -> None:
    """
    Workers of an earlier master are signalled on each rung as well.
    """
    sim = Simulation(system=FakeSystem(orphans=frozenset({7}))).serve(1)
    sim.send(ChildExited(sim.state.master.pid, ChildKind.MASTER, 137))
    sim.run(1)
    sim.system.effective_signals = frozenset()
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(5)

    signals = [kill.signum for kill in sim.commands(Kill) if kill.pid == 7]
    assert [signal.SIGTERM, signal.SIGKILL] == signals


def test_late_events_change_nothing() -> None:
    """
    Discovery, looks and counts go on for a while after it matters.
    """
    sim = Simulation(system=FakeSystem(effective_signals=frozenset())).serve(1)
    sim.send(SignalArrived(signal.SIGTERM))
    for event in (snapshot(2), GenerationReported("x"), OrphansFound(frozenset())):
        assert [] == sim.send(event)
    sim.send(ConnectionsCounted(5))

    assert 5 == sim.state.lifetime.cut
    assert not sim.state.view.ready


@given(
    history=st.lists(
        st.one_of(
            st.sampled_from([signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1]).map(
                SignalArrived
            ),
            st.integers(1, 4).map(snapshot),
            st.just(GenerationReported(None)),
            st.floats(0.01, 2.0),
        ),
        max_size=20,
    ),
    obeys=st.booleans(),
)
def test_whatever_happens_the_deadline_ends_it_with_0(
    history: list[Event | float], *, obeys: bool
) -> None:
    """
    No history keeps the program beyond its deadline and its drain; nothing but 0 comes out of it.
    """
    sim = Simulation({"TTL": "30s", "DRAIN_TIMEOUT": "5s"}).serve(1)
    for step in history:
        if isinstance(step, float):
            sim.run(step)
        elif sim.exit is None:
            sim.send(step)
    if not obeys:
        sim.system.effective_signals = frozenset()
    sim.run(60)

    assert sim.exit
    assert 0 == sim.exit.code
    assert sim.times(Exit)[0] <= 1000 + 30 + 5 + 0.001
    assert 1 == len(sim.commands(Exit))


def test_only_the_ways_of_the_table_are_taken() -> None:
    """
    What has ended does not begin again.
    """
    with pytest.raises(AssertionError, match="internal error"):
        lifecycle.enter(Lifetime(phase=Phase.ENDED), Phase.RUNNING)


def test_nothing_is_due_after_the_end() -> None:
    """
    An ended life wakes nobody.
    """
    assert NEVER == Lifetime(phase=Phase.ENDED).wake_at
