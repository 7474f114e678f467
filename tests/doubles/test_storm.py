"""
The pure parts of a storm: its schedule, and the causes of losses.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.support.storm.causes import (
    Causes,
    Happened,
    Loss,
    Stall,
    exit_cause_of,
)
from tests.support.storm.faults import EXITED, KINDS, Kind, Shape
from tests.support.storm.schedule import REPLICAS, schedule

ONE, TWO = "127.1.0.1:80", "127.1.0.2:80"


def kind(name: str) -> Kind:
    """
    Return the kind of this name.
    """
    (found,) = [each for each in (*KINDS, EXITED) if each.name == name]
    return found


def fault(name: str, began: float = 10.0, ended: float | None = None, *replicas: str) -> Happened:
    """
    Return a fault that happened at once.
    """
    return Happened(kind(name), began, began, ended or began, frozenset(replicas))


def cause_of(lost: Loss, faults: Sequence[Happened], stalls: Sequence[Stall]) -> str:
    """
    Return the cause of this loss among these faults.
    """
    return Causes(faults, stalls).of(lost)


def loss(shape: Shape, ended: float = 10.2, *tried: str) -> Loss:
    """
    Return a request that was lost at this instant.
    """
    return Loss("GET", ended - 0.1, ended, shape, tried)


def test_the_schedule_depends_only_on_the_seed() -> None:
    """
    The same seed gives the same faults, a longer storm begins with those of a shorter one, and
    another seed gives others.
    """
    assert schedule(7, 100) == schedule(7, 100)
    assert schedule(7, 100) == schedule(7, 300)[: len(schedule(7, 100))]
    assert schedule(7, 100) != schedule(8, 100)


@pytest.mark.parametrize("seed", range(20))
def test_the_schedule_keeps_apart_what_must_not_overlap(seed: int) -> None:
    """
    Faults of one part never overlap, a replica has one at a time, three replicas at most have one,
    and a master dies too rarely to end the run.
    """
    plan = schedule(seed, 600)
    for number, one in enumerate(plan):
        during = [each for each in plan[:number] if each.at + each.seconds >= one.at]
        replicas = [n for each in during for n in each.replicas]
        assert not set(replicas) & set(one.replicas)
        if one.kind.part == "replica":
            assert len(replicas) + len(one.replicas) <= 3
            assert one.replicas
        else:
            assert one.kind.part not in {each.kind.part for each in during}
    deaths = [each.at for each in plan if each.kind.apart]
    assert all(later - at >= 25 for at, later in pairwise(deaths))


def test_five_minutes_contain_every_kind() -> None:
    """
    Five seeds of five minutes contain every kind of fault, and every replica suffers.
    """
    plan = [each for seed in range(5) for each in schedule(seed, 300)]

    assert set(KINDS) == {each.kind for each in plan}
    assert set(range(REPLICAS)) == {n for each in plan for n in each.replicas}
    assert len(plan) > 5 * 100


@pytest.mark.parametrize("shape", Shape)
def test_without_a_fault_nothing_is_explained(shape: Shape) -> None:
    """
    A loss without any fault has no cause.
    """
    assert "" == cause_of(loss(shape, 10.2, ONE), [], [])


@pytest.mark.parametrize("name", [each.name for each in KINDS])
@pytest.mark.parametrize("shape", [Shape.WRONG, Shape.OTHER_STATUS])
def test_no_fault_explains_a_wrong_answer(name: str, shape: Shape) -> None:
    """
    A wrong answer, or a status that nobody sends, has no cause whatever happens.
    """
    faults = [fault(name, 10, 14, ONE)]

    assert "" == cause_of(loss(shape, 10.2, ONE), faults, [Stall(9, 14)])


@pytest.mark.parametrize("name", [each.name for each in KINDS if not each.costs])
@pytest.mark.parametrize("shape", Shape)
def test_a_fault_without_a_cost_explains_nothing(name: str, shape: Shape) -> None:
    """
    A fault that must lose no request is the cause of none.
    """
    assert "" == cause_of(loss(shape, 10.2, ONE), [fault(name, 10, 14, ONE)], [])


def test_each_kind_states_why() -> None:
    """
    Each kind has a name of its own, and a reason for its costs.
    """
    assert len(KINDS) == len({each.name for each in KINDS})
    assert all(each.why for each in KINDS)


@pytest.mark.parametrize(
    "shape,ended,cause",
    [
        (Shape.CUT, 10.0, "worker killed"),
        (Shape.TRUNCATED, 10.2, "worker killed"),
        pytest.param(Shape.CUT, 9.9, "", id="before it"),
        pytest.param(Shape.CUT, 10.4, "", id="long after it"),
        pytest.param(Shape.REFUSED, 10.2, "", id="the port stays open"),
        pytest.param(Shape.BAD_GATEWAY, 10.2, "", id="nginx answers only while it lives"),
    ],
)
def test_a_killed_worker_costs_what_is_on_it_at_that_moment(
    shape: Shape, ended: float, cause: str
) -> None:
    """
    A killed worker explains cut requests at the moment of its death, and nothing else.
    """
    assert cause == cause_of(loss(shape, ended, ONE), [fault("worker killed")], [])


def test_a_request_passed_on_to_a_killed_worker_is_explained() -> None:
    """
    An old worker that passes a request to a killed one answers 502.
    """
    passed_on = loss(Shape.BAD_GATEWAY, 10.1, "unix:/run/current.sock")

    assert "worker killed" == cause_of(passed_on, [fault("worker killed")], [])
    assert "" == cause_of(passed_on, [fault("replica killed", 10, 14, ONE)], [])


@pytest.mark.parametrize(
    "tried,cause",
    [
        pytest.param((ONE,), "replica killed", id="the killed one"),
        pytest.param((TWO,), "", id="another one"),
        pytest.param((ONE, TWO), "", id="the second try reached a healthy one"),
        pytest.param((), "", id="none"),
        pytest.param(("unix:/run/current.sock", ONE), "replica killed", id="by a live worker"),
    ],
)
def test_a_killed_replica_costs_only_requests_that_it_got(
    tried: tuple[str, ...], cause: str
) -> None:
    """
    A 502 is explained by a killed replica only if nginx tried no other.
    """
    assert cause == cause_of(loss(Shape.BAD_GATEWAY, 10.2, *tried), [dead(ONE)], [])


def dead(*replicas: str, began: float = 10.0) -> Happened:
    """
    Return replicas that were killed, and started again 6 s later.
    """
    return fault("replica killed", began, began + 6, *replicas)


def test_two_dead_replicas_explain_a_request_that_tried_both() -> None:
    """
    Both tries reached a dead replica, each within the time for its removal.
    """
    both = loss(Shape.BAD_GATEWAY, 10.4, ONE, TWO)

    assert "replica killed" == cause_of(both, [dead(ONE), dead(TWO)], [])
    assert "" == cause_of(both, [dead(ONE), dead(TWO, began=8.0)], [])


def test_a_truncated_answer_is_that_of_the_last_replica() -> None:
    """
    The first try is no cause for an answer that another replica began.
    """
    assert "replica killed" == cause_of(loss(Shape.TRUNCATED, 10.1, TWO, ONE), [dead(ONE)], [])
    assert "" == cause_of(loss(Shape.TRUNCATED, 10.1, ONE, TWO), [dead(ONE)], [])


def test_a_dead_replica_is_no_cause_after_its_removal() -> None:
    """
    It explains nothing after half a second, unless something keeps the supervisor from removing it.
    """
    late = loss(Shape.BAD_GATEWAY, 12.0, ONE)
    stopped = fault("supervisor stopped", 9.5, 11.3)

    assert "" == cause_of(late, [dead(ONE)], [])
    assert "replica killed" == cause_of(late, [dead(ONE), stopped], [])
    assert "" == cause_of(replace(late, ended=12.4), [dead(ONE), stopped], [])
    assert "" == cause_of(late, [dead(ONE), fault("registry down", 9.5, 13)], [])
    assert "" == cause_of(late, [dead(ONE), fault("supervisor stopped", 11, 13)], [])


def test_a_disk_error_delays_the_removal_until_the_attempt_is_repeated() -> None:
    """
    A failed attempt is repeated after up to 4 s, longer than what any other fault delays.
    """
    late = loss(Shape.BAD_GATEWAY, 15.0, ONE)

    assert "replica killed" == cause_of(late, [dead(ONE), fault("RUNTIME_DIR full", 9, 11)], [])
    assert "" == cause_of(late, [dead(ONE), fault("supervisor stopped", 9, 11)], [])
    assert "" == cause_of(late, [dead(ONE), fault("STATE_DIR full", 9, 11)], [])


def test_a_replica_that_is_well_again_is_no_cause() -> None:
    """
    Whatever slows its removal, it explains nothing after its restart.
    """
    faults = [dead(ONE), fault("supervisor stopped", 10, 30)]

    assert "replica killed" == cause_of(loss(Shape.BAD_GATEWAY, 16.2, ONE), faults, [])
    assert "" == cause_of(loss(Shape.BAD_GATEWAY, 17.0, ONE), faults, [])


def test_a_stall_that_was_seen_prolongs_a_cost() -> None:
    """
    The machine did not run for a while, so everything takes longer by that time, and no more.
    """
    late = loss(Shape.BAD_GATEWAY, 10.8, ONE)

    assert "" == cause_of(late, [dead(ONE)], [])
    assert "replica killed" == cause_of(late, [dead(ONE)], [Stall(10.1, 10.5)])
    assert "" == cause_of(late, [dead(ONE)], [Stall(9.0, 10.1)])


def test_the_clients_own_stall_is_a_cause_only_when_seen() -> None:
    """
    A client that did not run uses a connection that was closed meanwhile; any other loss is not
    its own.
    """
    stall = [Stall(9.6, 10.1)]

    assert "the client stalled" == cause_of(loss(Shape.KEPT_CUT, 10.2), [], stall)
    assert "" == cause_of(loss(Shape.KEPT_CUT, 10.2), [], [Stall(5.0, 6.0)])
    assert "" == cause_of(loss(Shape.CUT, 10.2), [], stall)
    assert "" == cause_of(loss(Shape.REFUSED, 10.2), [], stall)


def test_a_request_without_an_answer_is_not_explained_by_a_short_stall() -> None:
    """
    Only a client that was suspended for half of its time limit explains this.
    """
    silent = Loss("GET", 10, 40, Shape.SILENT)

    assert "" == cause_of(silent, [], [Stall(11, 15)])
    assert "the client stalled" == cause_of(silent, [], [Stall(11, 20), Stall(22, 30)])


def test_a_killed_supervisor_closes_the_port_until_it_serves_again() -> None:
    """
    Refused connections are explained until 3 s after its restart, or while a fault delays its
    start.
    """
    killed = fault("supervisor killed", 10, 11)
    refused = loss(Shape.REFUSED, 14.5)

    assert "supervisor killed" == cause_of(loss(Shape.REFUSED, 13.9), [killed], [])
    assert "" == cause_of(refused, [killed], [])
    assert "supervisor killed" == cause_of(refused, [killed, fault("RUNTIME_DIR full", 9, 12)], [])


def test_a_stopped_nginx_cuts_its_requests_when_it_ends() -> None:
    """
    The nginx of a killed supervisor ends when it runs again, and its requests with it.
    """
    killed, cut = fault("supervisor killed", 10, 10.5), loss(Shape.TRUNCATED, 12.2, ONE)

    assert "" == cause_of(cut, [killed], [])
    assert "supervisor killed" == cause_of(cut, [killed, fault("master stopped", 9, 12)], [])


def test_a_stopped_nginx_reports_a_dead_replica_late() -> None:
    """
    A request that met a dead replica is lost when nginx runs again, even if the replica is well
    again by then.
    """
    late = loss(Shape.BAD_GATEWAY, 19.2, ONE)

    assert "" == cause_of(late, [dead(ONE)], [])
    assert "replica killed" == cause_of(late, [dead(ONE), fault("nginx stopped", 10.3, 19)], [])
    assert "" == cause_of(late, [dead(ONE), fault("nginx stopped", 11, 19)], [])


def test_a_lie_of_the_registry_costs_503_only() -> None:
    """
    An empty list is believed until a second after it was corrected.
    """
    lie = fault("registry lists nothing", 10, 13)

    assert "registry lists nothing" == cause_of(loss(Shape.UNAVAILABLE, 13.9), [lie], [])
    assert "" == cause_of(loss(Shape.UNAVAILABLE, 14.1), [lie], [])
    assert "" == cause_of(loss(Shape.REFUSED, 12), [lie], [])


def test_the_end_of_the_program_needs_a_cause() -> None:
    """
    Only a broken disk or a suspended earlier nginx at its start explains that it gave up.
    """
    gave_up = fault(EXITED.name, 18)

    assert "" == exit_cause_of(5, gave_up, [])
    assert "RUNTIME_DIR full" == exit_cause_of(5, gave_up, [fault("RUNTIME_DIR full", 4, 8)])
    assert "" == exit_cause_of(5, gave_up, [fault("RUNTIME_DIR full", 1, 3)])
    assert "" == exit_cause_of(5, gave_up, [fault("RUNTIME_DIR full", 21, 23)])
    assert "" == exit_cause_of(5, gave_up, [fault("supervisor stopped", 4, 8)])
    assert "" == exit_cause_of(3, gave_up, [fault("RUNTIME_DIR full", 4, 8)]), "it had served"


def test_a_suspended_worker_costs_kept_connections_only() -> None:
    """
    A worker that was suspended closes kept connections when it runs again, and loses nothing else.
    """
    stopped = fault("worker stopped", 10, 13)

    assert "worker stopped" == cause_of(loss(Shape.KEPT_CUT, 13.1), [stopped], [])
    assert "" == cause_of(loss(Shape.KEPT_CUT, 13.5), [stopped], [])
    assert "" == cause_of(loss(Shape.CUT, 13.1), [stopped], [])
