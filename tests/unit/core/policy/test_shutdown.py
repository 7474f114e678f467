"""
Shutdown: every wait is limited, and the exit code is 0.
"""

import signal
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import lifecycle
from supervisor.core.commands import CountLostRequests, Exit, Kill, QuitOrphans, SpawnMaster
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

ONLY_SIGKILL = FakeSystem(effective_signals=frozenset({signal.SIGKILL}))


def test_the_deadline_drains_and_exits_with_0() -> None:
    """
    At the deadline nginx receives SIGQUIT, and the program exits after it.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    sim.run(3600)

    assert sim.exit
    assert (0, "deadline") == (sim.exit.code, sim.exit.reason)
    assert [4600.0] == sim.signals(signal.SIGQUIT)


@pytest.mark.parametrize("timeout, has_hint", [("4s", False), ("5s", True), ("1h", True)])
def test_a_long_stop_timeout_names_what_would_cut_it(
    timeout: str,
    has_hint: bool,  # noqa: FBT001
) -> None:
    """
    The last line before a kill has the reason for it; only if Nomad's default would cut the drain.
    """
    sim = Simulation({"TTL": "1h", "STOP_TIMEOUT": timeout}).serve(1)
    sim.send(SignalArrived(signal.SIGTERM))

    (line,) = sim.notes("draining")
    assert has_hint == ("kill_timeout" in (line.fields["hint"] or ""))


def test_sigquit_precedes_every_log_line() -> None:
    """
    Nothing is logged between the deadline and SIGQUIT.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    before = len(sim.issued)
    sim.run(3600)

    ending = [command for at, command in sim.issued[before:] if at == 4600.0]
    assert isinstance(ending[0], Kill)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_each_stop_signal_means_the_same(signum: int) -> None:
    """
    Docker sends SIGTERM or the image's STOPSIGNAL, raw_exec SIGINT: all mean stop.
    """
    sim = Simulation().serve(1)
    sim.send(SignalArrived(signum))
    sim.run(1)

    assert sim.exit
    assert (0, "stop signal") == (sim.exit.code, sim.exit.reason)


def test_the_ladder_has_three_signals() -> None:
    """
    SIGQUIT at 0, SIGTERM 1 s before the limit, SIGKILL 0.3 s before it: for 4 s at 0, 3 and 3.7.
    """
    sim = Simulation({"STOP_TIMEOUT": "4s"}, system=ONLY_SIGKILL).serve(1)
    sim.system.open_connections = 3
    start = sim.now
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(10)

    sent = [
        sim.signals(signum)[0] - start
        for signum in (signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL)
    ]
    assert pytest.approx([0.0, 3.0, 3.7]) == sent
    assert sim.exit
    assert (0, 3) == (sim.exit.code, sim.exit.fields["connections_cut"])


def test_requests_that_ended_with_their_replica_count_as_cut() -> None:
    """
    With each exit of a child the count so far arrives, and the last one is reported.
    """
    sim = Simulation(system=ONLY_SIGKILL).serve(1)
    sim.system.open_connections = 3
    sim.send(SignalArrived(signal.SIGTERM))
    assert [1] == [c.endpoints for _, c in sim.issued if isinstance(c, CountLostRequests)]
    sim.send(ChildExited(7, ChildKind.OTHER, 0, lost=2))
    sim.run(10)

    assert sim.exit
    assert (5, 2) == (sim.exit.fields["connections_cut"], sim.exit.fields["cut_by_replicas"])


def test_a_short_ladder_leaves_half_the_time_to_sigquit() -> None:
    """
    With 1 s SIGTERM is sent after half of it.
    """
    sim = Simulation({"STOP_TIMEOUT": "1s"}, system=ONLY_SIGKILL).serve(1)
    start = sim.now
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(10)

    assert pytest.approx([0.5, 0.7]) == [
        sim.signals(signum)[0] - start for signum in (signal.SIGTERM, signal.SIGKILL)
    ]


def test_stop_timeout_0_exits_at_once() -> None:
    """
    All signals are sent in one step.
    """
    sim = Simulation({"STOP_TIMEOUT": "0"}).serve(1)
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(1)

    assert sim.exit
    assert 0 == sim.exit.code


def test_a_process_that_survives_sigkill_does_not_delay_the_exit() -> None:
    """
    A process stuck in the kernel is left behind and reported.
    """
    sim = Simulation(system=FakeSystem(effective_signals=frozenset())).serve(1)
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(4)

    assert sim.exit
    assert (0, 1) == (sim.exit.code, sim.exit.fields["still_running"])


def test_the_second_signal_sends_sigterm_the_third_sigkill() -> None:
    """
    Pressing Ctrl-C again means not to wait for requests.
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
    SIGTERM is sent at once, SIGKILL soon after.
    """
    sim = Simulation({"STOP_TIMEOUT": "60s"}, system=ONLY_SIGKILL).serve(1)
    start = sim.now
    for _ in range(2):
        sim.send(SignalArrived(signal.SIGTERM))
    sim.run(5)

    assert sim.exit
    assert sim.times(Exit)[0] - start <= 1.0


def test_a_stop_signal_during_the_drain_shortens_it() -> None:
    """
    Nomad's kill_timeout counts from its signal, whatever DRAIN_TIMEOUT is.
    """
    sim = Simulation(
        {"TTL": "10s", "DRAIN_TIMEOUT": "10m", "STOP_TIMEOUT": "4s"}, system=ONLY_SIGKILL
    )
    sim.serve(1)
    sim.run(30)
    stopped_at = sim.now
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(60)

    assert sim.exit
    assert sim.times(Exit)[0] - stopped_at <= 4.0
    assert "deadline" == sim.exit.reason


def test_a_stop_signal_late_in_the_drain_does_not_prolong_it() -> None:
    """
    A drain that is nearly over ends at its original limit.
    """
    sim = Simulation(
        {"TTL": "10s", "DRAIN_TIMEOUT": "5s", "STOP_TIMEOUT": "60s"}, system=ONLY_SIGKILL
    )
    sim.serve(1)
    sim.run(9 + 4.5)
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(60)

    assert sim.times(Exit)[0] <= 1015.0


def test_a_stop_before_nginx_starts_exits_at_once() -> None:
    """
    There is nothing to drain while discovery is awaited.
    """
    sim = Simulation({"START_WAIT": "10s"}).run(1)
    sim.send(SignalArrived(signal.SIGTERM))

    assert sim.exit
    assert 0 == sim.exit.code


def test_a_starting_nginx_receives_sigquit_too() -> None:
    """
    The code is 0 whether it dies of the signal or handles it.
    """
    sim = Simulation(system=FakeSystem(boot_time=60))
    sim.send(snapshot(1))
    sim.run(0.1)
    sim.send(SignalArrived(signal.SIGTERM))
    assert 1 == len(sim.signals(signal.SIGQUIT))
    sim.run(1)

    assert sim.exit
    assert 0 == sim.exit.code


def test_a_running_check_is_killed() -> None:
    """
    A hanging `nginx -t` does not outlive the program.
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
    "kind, command",
    [
        (ChildKind.MASTER, Kill(500, signal.SIGQUIT)),
        (ChildKind.CHECK, Kill(500, signal.SIGKILL, group=True)),
    ],
)
def test_a_child_that_starts_during_shutdown_is_signalled(kind: ChildKind, command: Kill) -> None:
    """
    It was requested before shutdown began, and reports afterwards.
    """
    sim = Simulation(system=FakeSystem(ignored_commands=frozenset({SpawnMaster})))
    sim.send(snapshot(1))
    sim.run(0.1)
    ending = lifecycle.drain(sim.state.lifetime, "deadline", 30.0, sim.now)
    sim.state = replace(sim.state, lifetime=ending)

    assert command == sim.send(Spawned(kind, 500))[0]


def test_workers_of_a_master_killed_in_the_drain_still_drain() -> None:
    """
    Its orphans receive SIGQUIT; the exit of the last one ends the drain.
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


def test_earlier_orphans_are_signalled_too() -> None:
    """
    Workers of an earlier master receive each signal of the ladder.
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
    Results of discovery, queries and counts arrive for a while during shutdown.
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
    nginx_exits=st.booleans(),
)
def test_any_history_exits_with_0_at_the_deadline(
    history: list[Event | float], *, nginx_exits: bool
) -> None:
    """
    No history delays the exit beyond the deadline and the drain, or changes the code 0.
    """
    sim = Simulation({"TTL": "30s", "DRAIN_TIMEOUT": "5s"}).serve(1)
    for step in history:
        if isinstance(step, float):
            sim.run(step)
        elif sim.exit is None:
            sim.send(step)
    if not nginx_exits:
        sim.system.effective_signals = frozenset()
    sim.run(60)

    assert sim.exit
    assert 0 == sim.exit.code
    assert sim.times(Exit)[0] <= 1000 + 30 + 5 + 0.001
    assert 1 == len(sim.commands(Exit))


def test_only_listed_transitions_are_allowed() -> None:
    """
    An ended service cannot run again.
    """
    with pytest.raises(AssertionError, match="internal error"):
        lifecycle.enter(Lifetime(phase=Phase.ENDED), Phase.RUNNING)


def test_nothing_is_due_after_the_end() -> None:
    """
    The phase `ended` has no timer.
    """
    assert NEVER == Lifetime(phase=Phase.ENDED).wake_at
