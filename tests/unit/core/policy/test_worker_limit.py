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
from tests.support.play import Play, World, arrives, endpoints

FIRST = frozenset({1, 2})


def draining(most: int, changes: int) -> Play:
    """
    Return a run in which every reload left its old workers behind: they answer long requests.
    """
    play = Play({"MAX_DRAINING": str(most)}, world=World(workers=FIRST))
    play.serve(1)
    for n in range(changes):
        change(play, *range(1, n + 3))
    return play


def change(play: Play, *ports: int, seconds: float = 5.0) -> None:
    """
    Change the endpoints; when that led to a reload there are two workers more.
    """
    before = play.served
    play.send(arrives(*ports))
    play.run(seconds)
    if play.served != before:
        newest = max(play.world.workers, default=0)
        play.world.workers |= {newest + 1, newest + 2}


def ended(play: Play) -> list[frozenset[int]]:
    """
    Return who was told to go.
    """
    return [command.pids for command in play.all(SignalWorkers)]


def test_workers_are_counted_before_each_reload_but_the_first_start() -> None:
    """
    What starts new workers must know what is there.
    """
    play = draining(8, 3)

    assert 3 == len(play.all(CountWorkers))
    assert 4 == len(play.all(Stage))
    assert [frozenset({1, 2}), frozenset({3, 4})] == list(play.state.generations.draining)[:2]


def test_an_addition_waits_while_too_many_generations_drain() -> None:
    """
    It is said once, nothing is cut, and the last state comes as soon as one generation is gone.
    """
    play = draining(2, 2)
    change(play, 1, 2, 3, 4)
    change(play, 1, 2, 3, 4, 5, seconds=60)

    assert endpoints(1, 2, 3) == play.served.endpoints
    assert 1 == len(play.notes("reload.deferred"))
    assert "MAX_DRAINING" in play.notes("reload.deferred")[0].fields["reason"]
    play.world.workers -= FIRST
    play.run(1.5)
    assert endpoints(1, 2, 3, 4, 5) == play.served.endpoints
    assert [] == ended(play)


def test_a_removal_ends_the_oldest_generation_and_no_other() -> None:
    """
    An endpoint that has left must not get requests for as long as somebody streams.
    """
    play = draining(2, 2)
    change(play, 2, 3)

    assert endpoints(2, 3) == play.served.endpoints
    assert [FIRST] == ended(play)
    assert [signal.SIGTERM] == [command.signum for command in play.all(SignalWorkers)]
    assert {"workers": 2, "cut": 0} == dict(play.notes("generation.ended")[0].fields)


def test_a_removal_overtakes_an_addition_that_waits() -> None:
    """
    What waits does not make the next one wait.
    """
    play = draining(1, 1)
    change(play, 1, 2, 3)
    assert endpoints(1, 2) == play.served.endpoints
    change(play, 1, 3, seconds=0.3)

    assert endpoints(1, 3) == play.served.endpoints


def test_who_does_not_listen_is_killed() -> None:
    """
    A worker that hangs does not obey SIGTERM.
    """
    play = draining(1, 1)
    play.world.silent_orders = frozenset({SignalWorkers})
    change(play, 2)

    assert [signal.SIGTERM, signal.SIGKILL] == [
        command.signum for command in play.all(SignalWorkers)[:2]
    ]
    assert endpoints(1, 2) == play.served.endpoints


def test_there_is_room_for_what_a_reload_starts() -> None:
    """
    A master that may not start workers tells the old ones to go all the same: a reload that does
    not fit is not tried, a removal neither, and it comes when there is room.
    """
    play = Play(world=World(workers=FIRST, room=2)).serve(1)
    change(play, 2, seconds=30)

    assert endpoints(1) == play.served.endpoints
    reason = play.notes("reload.deferred")[0].fields["reason"]
    assert "a reload needs 3 more processes, but only 2 can be started" == reason
    play.world.room = 3
    play.run(1.5)
    assert endpoints(2) == play.served.endpoints


def test_a_removal_makes_room_for_itself() -> None:
    """
    The oldest generation is what holds the processes.
    """
    play = draining(8, 1)
    play.world.room = 0
    play.send(arrives(2))
    play.run(0.05)
    assert [FIRST] == ended(play)
    play.world.room = 3
    play.run(1)

    assert endpoints(2) == play.served.endpoints


def test_whoever_begins_to_serve_does_not_wait() -> None:
    """
    From nobody to somebody is no mere addition.
    """
    play = draining(1, 1)
    change(play)
    assert () == play.served.endpoints
    change(play, 1)

    assert endpoints(1) == play.served.endpoints
    assert 2 == len(ended(play))


def test_files_read_anew_can_wait() -> None:
    """
    SIGHUP cuts nobody's stream.
    """
    play = draining(1, 1)
    play.world.files = "edited"
    play.send(SignalArrived(signal.SIGHUP))
    play.run(10)
    before = len(play.signals(signal.SIGHUP))
    play.world.workers -= FIRST
    play.run(2)

    assert before + 1 == len(play.signals(signal.SIGHUP))
    assert [] == ended(play)


def test_a_new_master_begins_with_no_generations() -> None:
    """
    What the dead one left are orphans, who are looked after elsewhere.
    """
    play = draining(1, 1)
    play.world.workers = frozenset({11, 12})
    play.send(ChildExited(play.state.master.pid, ChildKind.MASTER, 137))
    play.run(3)
    change(play, 1, 2, 3)

    assert endpoints(1, 2, 3) == play.served.endpoints
    assert [] == play.notes("reload.deferred")


def test_an_answer_that_comes_too_late_starts_nothing() -> None:
    """
    The master that was counted is gone.
    """
    play = Play(world=World(silent_orders=frozenset({CountWorkers}), workers=FIRST)).serve(1)
    play.send(arrives(2))
    play.run(1)
    before = len(play.all(Stage))
    assert math.inf == play.state.rollout_at
    play.send(ChildExited(play.state.master.pid, ChildKind.MASTER, 137))
    play.run(0)

    assert before == len(play.all(Stage))
    assert not play.state.generations.is_counting


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
