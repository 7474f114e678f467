"""
Old generations of workers, as histories: who may wait, and who has to go.
"""

import math
import signal

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import worker_generations
from supervisor.core.commands import CountWorkers, SignalWorkers, Stage
from supervisor.core.events import ChildExited, SignalArrived
from supervisor.core.model import ChildKind
from supervisor.core.worker_generations import Generations
from tests.support.policy_simulation import FakeSystem, Simulation, endpoints, snapshot

FIRST = frozenset({1, 2})


def draining(most: int, changes: int) -> Simulation:
    """
    Return a run in which every reload left its old workers behind: they answer long requests.
    """
    sim = Simulation({"MAX_DRAINING": str(most)}, system=FakeSystem(workers=FIRST))
    sim.serve(1)
    for n in range(changes):
        change(sim, *range(1, n + 3))
    return sim


def change(sim: Simulation, *ports: int, seconds: float = 5.0) -> None:
    """
    Change the endpoints; when that led to a reload there are two workers more.
    """
    before = sim.served
    sim.send(snapshot(*ports))
    sim.run(seconds)
    if sim.served != before:
        newest = max(sim.system.workers, default=0)
        sim.system.workers |= {newest + 1, newest + 2}


def ended(sim: Simulation) -> list[frozenset[int]]:
    """
    Return who was told to go.
    """
    return [command.pids for command in sim.commands(SignalWorkers)]


def test_workers_are_counted_before_each_reload_but_the_first_start() -> None:
    """
    What starts new workers must know what is there.
    """
    sim = draining(8, 3)

    assert 3 == len(sim.commands(CountWorkers))
    assert 4 == len(sim.commands(Stage))
    assert [frozenset({1, 2}), frozenset({3, 4})] == list(sim.state.generations.draining)[:2]


def test_an_addition_waits_while_too_many_generations_drain() -> None:
    """
    It is said once, nothing is cut, and the last state comes as soon as one generation is gone.
    """
    sim = draining(2, 2)
    change(sim, 1, 2, 3, 4)
    change(sim, 1, 2, 3, 4, 5, seconds=60)

    assert endpoints(1, 2, 3) == sim.served.endpoints
    assert 1 == len(sim.notes("reload.deferred"))
    assert "MAX_DRAINING" in sim.notes("reload.deferred")[0].fields["reason"]
    sim.system.workers -= FIRST
    sim.run(1.5)
    assert endpoints(1, 2, 3, 4, 5) == sim.served.endpoints
    assert [] == ended(sim)


def test_a_removal_ends_the_oldest_generation_and_no_other() -> None:
    """
    An endpoint that has left must not get requests for as long as somebody streams.
    """
    sim = draining(2, 2)
    change(sim, 2, 3)

    assert endpoints(2, 3) == sim.served.endpoints
    assert [FIRST] == ended(sim)
    assert [signal.SIGTERM] == [command.signum for command in sim.commands(SignalWorkers)]
    assert {"workers": 2, "cut": 0} == dict(sim.notes("generation.ended")[0].fields)


def test_a_removal_overtakes_an_addition_that_waits() -> None:
    """
    What waits does not make the next one wait.
    """
    sim = draining(1, 1)
    change(sim, 1, 2, 3)
    assert endpoints(1, 2) == sim.served.endpoints
    change(sim, 1, 3, seconds=0.3)

    assert endpoints(1, 3) == sim.served.endpoints


def test_who_does_not_listen_is_killed() -> None:
    """
    A worker that hangs does not obey SIGTERM.
    """
    sim = draining(1, 1)
    sim.system.ignored_commands = frozenset({SignalWorkers})
    change(sim, 2)

    assert [signal.SIGTERM, signal.SIGKILL] == [
        command.signum for command in sim.commands(SignalWorkers)[:2]
    ]
    assert endpoints(1, 2) == sim.served.endpoints


def test_there_is_room_for_what_a_reload_starts() -> None:
    """
    A master that may not start workers tells the old ones to go all the same: a reload that does
    not fit is not tried, a removal neither, and it comes when there is room.
    """
    sim = Simulation(system=FakeSystem(workers=FIRST, free_processes=2)).serve(1)
    change(sim, 2, seconds=30)

    assert endpoints(1) == sim.served.endpoints
    reason = sim.notes("reload.deferred")[0].fields["reason"]
    assert "2 more processes may be started here, and 3 are needed" == reason
    sim.system.free_processes = 3
    sim.run(1.5)
    assert endpoints(2) == sim.served.endpoints


def test_a_removal_makes_room_for_itself() -> None:
    """
    The oldest generation is what holds the processes.
    """
    sim = draining(8, 1)
    sim.system.free_processes = 0
    sim.send(snapshot(2))
    sim.run(0.05)
    assert [FIRST] == ended(sim)
    sim.system.free_processes = 3
    sim.run(1)

    assert endpoints(2) == sim.served.endpoints


def test_whoever_begins_to_serve_does_not_wait() -> None:
    """
    From nobody to somebody is no mere addition.
    """
    sim = draining(1, 1)
    change(sim)
    assert () == sim.served.endpoints
    change(sim, 1)

    assert endpoints(1) == sim.served.endpoints
    assert 2 == len(ended(sim))


def test_files_read_anew_can_wait() -> None:
    """
    SIGHUP cuts nobody's stream.
    """
    sim = draining(1, 1)
    sim.system.operator_files = "edited"
    sim.send(SignalArrived(signal.SIGHUP))
    sim.run(10)
    before = len(sim.signals(signal.SIGHUP))
    sim.system.workers -= FIRST
    sim.run(2)

    assert before + 1 == len(sim.signals(signal.SIGHUP))
    assert [] == ended(sim)


def test_a_new_master_begins_with_no_generations() -> None:
    """
    What the dead one left are orphans, who are looked after elsewhere.
    """
    sim = draining(1, 1)
    sim.system.workers = frozenset({11, 12})
    sim.send(ChildExited(sim.state.master.pid, ChildKind.MASTER, 137))
    sim.run(3)
    change(sim, 1, 2, 3)

    assert endpoints(1, 2, 3) == sim.served.endpoints
    assert [] == sim.notes("reload.deferred")


def test_an_answer_that_comes_too_late_starts_nothing() -> None:
    """
    The master that was counted is gone.
    """
    sim = Simulation(
        system=FakeSystem(ignored_commands=frozenset({CountWorkers}), workers=FIRST)
    ).serve(1)
    sim.send(snapshot(2))
    sim.run(1)
    before = len(sim.commands(Stage))
    assert math.inf == sim.state.rollout_at
    sim.send(ChildExited(sim.state.master.pid, ChildKind.MASTER, 137))
    sim.run(0)

    assert before == len(sim.commands(Stage))
    assert not sim.state.generations.is_counting


@given(
    st.lists(
        st.tuples(st.booleans(), st.sets(st.integers(0, 7), max_size=4)), min_size=1, max_size=30
    ),
    st.integers(1, 5),
)
def test_no_more_generations_drain_than_may(steps: list[tuple[bool, set[int]]], most: int) -> None:
    """
    Whatever ends and whatever is wanted: a reload goes only where one more generation may drain,
    every worker belongs to one generation, and it is the oldest that is told to go.
    """
    alive, state, newest = frozenset({1}), Generations(most), 1
    for pressing, leaving in steps:
        alive -= frozenset(
            sorted(alive - {newest})[each] for each in leaving if each < len(alive) - 1
        )
        state = worker_generations.counted(state, alive)
        groups = [*state.draining, state.live]
        assert sorted(alive) == sorted(pid for group in groups for pid in group)
        why = worker_generations.shortage(state, math.inf, 1)
        verdict = worker_generations.decide(state, why, is_urgent=pressing)
        if verdict is worker_generations.ReloadDecision.GO:
            state = worker_generations.succeeded(state)
            newest += 1
            alive |= {newest}
            assert len(state.draining) <= most
        elif verdict is worker_generations.ReloadDecision.END_OLDEST:
            assert min(alive) in state.draining[0]
            alive -= state.draining[0]
