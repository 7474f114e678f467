"""
Old generations of workers: which reloads wait, and which end the oldest generation.
"""

import math
import signal

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import worker_generations
from supervisor.core.commands import CountWorkers, SignalWorkers, SpawnMaster, Stage
from supervisor.core.events import ChildExited, HealthChanged, SignalArrived
from supervisor.core.model import ChildKind, HealthState
from supervisor.core.worker_generations import Generations
from tests.support.policy_simulation import FakeSystem, Simulation, endpoints, snapshot

FIRST = frozenset({1, 2})


def draining(max_draining: int, changes: int) -> Simulation:
    """
    Return a simulation in which the old workers of every reload still serve long requests.
    """
    sim = Simulation({"MAX_DRAINING": str(max_draining)}, system=FakeSystem(workers=FIRST))
    sim.serve(1)
    for n in range(changes):
        change(sim, *range(1, n + 3))
    return sim


def change(sim: Simulation, *ports: int, seconds: float = 5.0) -> None:
    """
    Change the endpoints; a reload adds two workers.
    """
    before = sim.served
    sim.send(snapshot(*ports))
    sim.run(seconds)
    if sim.served != before:
        newest = max(sim.system.workers, default=0)
        sim.system.workers |= {newest + 1, newest + 2}


def ended(sim: Simulation) -> list[frozenset[int]]:
    """
    Return the workers that were signalled.
    """
    return [command.pids for command in sim.commands(SignalWorkers)]


def test_workers_are_counted_before_each_reload_but_the_first_start() -> None:
    """
    The count decides whether the reload fits.
    """
    sim = draining(8, 3)

    assert 3 == len(sim.commands(CountWorkers))
    assert 4 == len(sim.commands(Stage))
    assert [frozenset({1, 2}), frozenset({3, 4})] == list(sim.state.generations.draining)[:2]


def test_an_addition_waits_while_too_many_generations_drain() -> None:
    """
    It is logged once, cuts no request, and is applied as soon as one generation has exited.
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
    A removed endpoint must not receive requests for as long as a client streams.
    """
    sim = draining(2, 2)
    change(sim, 2, 3)

    assert endpoints(2, 3) == sim.served.endpoints
    assert [FIRST] == ended(sim)
    assert [signal.SIGTERM] == [command.signum for command in sim.commands(SignalWorkers)]
    assert {"workers": 2, "cut": 0} == dict(sim.notes("generation.ended")[0].fields)


def test_a_removal_is_not_delayed_by_a_waiting_addition() -> None:
    """
    The waiting reload is replaced.
    """
    sim = draining(1, 1)
    change(sim, 1, 2, 3)
    assert endpoints(1, 2) == sim.served.endpoints
    change(sim, 1, 3, seconds=0.3)

    assert endpoints(1, 3) == sim.served.endpoints


def test_workers_ignoring_sigterm_are_killed() -> None:
    """
    A worker that hangs does not exit on SIGTERM.
    """
    sim = draining(1, 1)
    sim.system.ignored_commands = frozenset({SignalWorkers})
    change(sim, 2)

    assert [signal.SIGTERM, signal.SIGKILL] == [
        command.signum for command in sim.commands(SignalWorkers)[:2]
    ]
    assert endpoints(1, 2) == sim.served.endpoints


def test_a_reload_waits_for_free_processes() -> None:
    """
    A master that cannot start new workers still ends the old ones: no reload, not even a removal,
    begins before enough processes may be started.
    """
    sim = Simulation(system=FakeSystem(workers=FIRST, free_processes=2)).serve(1)
    change(sim, 2, seconds=30)

    assert endpoints(1) == sim.served.endpoints
    reason = sim.notes("reload.deferred")[0].fields["reason"]
    assert "a reload needs 3 more processes, but only 2 can be started" == reason
    sim.system.free_processes = 3
    sim.run(1.5)
    assert endpoints(2) == sim.served.endpoints


def test_a_removal_ends_the_oldest_generation_to_free_processes() -> None:
    """
    The processes of the oldest generation are needed for new workers.
    """
    sim = draining(8, 1)
    sim.system.free_processes = 0
    sim.send(snapshot(2))
    sim.run(0.05)
    assert [FIRST] == ended(sim)
    sim.system.free_processes = 3
    sim.run(1)

    assert endpoints(2) == sim.served.endpoints


def test_the_first_endpoint_does_not_wait() -> None:
    """
    A change from no endpoints to one is urgent.
    """
    sim = draining(1, 1)
    change(sim)
    assert () == sim.served.endpoints
    change(sim, 1)

    assert endpoints(1) == sim.served.endpoints
    assert 2 == len(ended(sim))


def test_a_reload_by_sighup_can_wait() -> None:
    """
    SIGHUP ends no old generation.
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


def test_a_new_master_has_no_old_generations() -> None:
    """
    Workers of the dead one are orphans and are not counted.
    """
    sim = draining(1, 1)
    sim.system.workers = frozenset({11, 12})
    sim.send(ChildExited(sim.state.master.pid, ChildKind.MASTER, 137))
    sim.run(3)
    change(sim, 1, 2, 3)

    assert endpoints(1, 2, 3) == sim.served.endpoints
    assert [] == sim.notes("reload.deferred")


def test_no_reload_starts_while_a_count_is_pending() -> None:
    """
    The pending count is dropped with its master.
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


def tight(free: float = 1, **variables: str) -> Simulation:
    """Return a simulation that serves nothing, and in which no second set of workers fits."""
    system = FakeSystem(workers=FIRST, free_processes=free)
    sim = Simulation(variables, system=system)
    sim.send(snapshot())
    return sim.run(1.0)


def test_where_nothing_is_served_nginx_is_restarted() -> None:
    """
    A reload never fits, and a restart interrupts nothing: it is no death of nginx, and afterwards
    a change waits again, because now something is served.
    """
    sim = tight()
    sim.send(snapshot(1))
    sim.run(1.0)

    assert endpoints(1) == sim.served.endpoints
    assert 1 == len(sim.signals(signal.SIGTERM))
    assert 2 == len(sim.commands(SpawnMaster))
    assert 1 == len(sim.notes("nginx.restarting"))
    assert [] == sim.notes("nginx.died") == sim.notes("reload.deferred")
    assert () == sim.state.master.crashes
    change(sim, 1, 2, seconds=30)
    assert endpoints(1) == sim.served.endpoints
    assert 2 == len(sim.commands(SpawnMaster))
    assert 1 == len(sim.notes("reload.deferred"))


def test_nginx_is_restarted_when_all_that_it_serves_is_gone() -> None:
    """
    The only replica has failed, and another one is ready: requests go nowhere until a restart.
    """
    sim = Simulation(
        {"HEALTH_CHECK": "tcp"}, system=FakeSystem(workers=FIRST, free_processes=1)
    ).serve(1)
    sim.send(snapshot(1, 2))
    sim.run(5)
    assert endpoints(1) == sim.served.endpoints, "the first one still serves"
    sim.send(HealthChanged({endpoints(1)[0]: HealthState.FAILING}))
    sim.run(5)

    assert endpoints(2) == sim.served.endpoints
    assert 2 == len(sim.commands(SpawnMaster))


def test_no_restart_without_an_endpoint_or_room_for_a_check() -> None:
    """
    A restart for another 503 is of no use, and `nginx -t` runs before it.
    """
    sim = tight(HEALTH_CHECK="tcp")
    sim.system.endpoints_ready = False
    sim.send(snapshot(1))
    sim.run(10)
    assert 1 == len(sim.commands(SpawnMaster))
    assert 1 == len(sim.notes("reload.deferred"))

    sim = tight(free=0)
    sim.send(snapshot(1))
    sim.run(10)
    assert 1 == len(sim.commands(SpawnMaster))
    sim.system.free_processes = 1
    sim.run(1.5)
    assert endpoints(1) == sim.served.endpoints


def test_no_restart_while_old_workers_drain() -> None:
    """
    Their requests would be cut: an addition waits, and for a removal the oldest are ended first.
    """
    old, decision = Generations(8, draining=(FIRST,)), worker_generations.ReloadDecision
    for is_urgent, verdict in ((False, decision.WAIT), (True, decision.END_OLDEST)):
        assert verdict is worker_generations.decide(
            old, "no room", is_urgent=is_urgent, may_restart=True
        )


def test_a_restart_may_take_as_long_as_a_start() -> None:
    """
    START_TIMEOUT limits it, not VERIFY_TIMEOUT.
    """
    sim = tight()
    sim.system.boot_time = 7.0
    sim.send(snapshot(1))
    sim.run(8)

    assert endpoints(1) == sim.served.endpoints
    assert 2 == len(sim.commands(SpawnMaster))
    assert [] == sim.notes("reload.failed")


def test_a_restart_that_fails_is_not_repeated_at_once() -> None:
    """
    Nginx comes back with the files that worked; four deaths would end the program.
    """
    sim = tight()
    sim.system.effective_signals = frozenset({signal.SIGTERM, signal.SIGKILL})
    sim.system.boot_time = 1e9
    sim.send(snapshot(1))
    sim.run(0.5)
    assert 2 == len(sim.commands(SpawnMaster))
    sim.system.boot_time = 0.02
    sim.send(ChildExited(sim.state.master.pid, ChildKind.MASTER, 1, "bind() failed"))
    sim.run(50)

    assert () == sim.served.endpoints
    assert 1 == len(sim.state.master.crashes)
    assert 3 == len(sim.commands(SpawnMaster))
    sim.run(20)
    assert endpoints(1) == sim.served.endpoints
    assert sim.exit is None


def test_a_master_that_does_not_end_for_a_restart_is_replaced() -> None:
    """
    It has VERIFY_TIMEOUT to end; then the last good files come back, and at last SIGKILL.
    """
    sim = tight()
    sim.system.effective_signals = frozenset({signal.SIGKILL})
    sim.system.nginx_responds = False
    sim.send(snapshot(1))
    sim.run(5.5)
    assert 1 == len(sim.commands(SpawnMaster))
    sim.system.nginx_responds = True
    sim.run(90)

    assert sim.exit is None
    assert sim.state.view.healthy


@given(
    st.lists(
        st.tuples(st.booleans(), st.sets(st.integers(0, 7), max_size=4)), min_size=1, max_size=30
    ),
    st.integers(1, 5),
)
def test_at_most_max_draining_generations_drain(
    steps: list[tuple[bool, set[int]]], max_draining: int
) -> None:
    """
    A reload begins only if one more generation may drain, every worker belongs to exactly one
    generation, and only the oldest one is ended.
    """
    alive, state, newest = frozenset({1}), Generations(max_draining), 1
    for is_urgent, leaving in steps:
        alive -= frozenset(
            sorted(alive - {newest})[each] for each in leaving if each < len(alive) - 1
        )
        state = worker_generations.counted(state, alive)
        groups = [*state.draining, state.live]
        assert sorted(alive) == sorted(pid for group in groups for pid in group)
        shortage = worker_generations.shortage(state, math.inf, 1)
        verdict = worker_generations.decide(state, shortage, is_urgent=is_urgent)
        if verdict is worker_generations.ReloadDecision.GO:
            state = worker_generations.succeeded(state)
            newest += 1
            alive |= {newest}
            assert len(state.draining) <= max_draining
        elif verdict is worker_generations.ReloadDecision.END_OLDEST:
            assert min(alive) in state.draining[0]
            alive -= state.draining[0]
