"""
The deadline of the whole job: the variable that all tasks follow, and requests that write it.
"""

from typing import Any

import pytest

from supervisor.core.commands import Note, Reply, SaveState, WriteJobVariable
from supervisor.core.durations import format_instant
from supervisor.core.events import (
    DeadlineRequested,
    Disk,
    JobVariableFailed,
    JobVariableRead,
    JobVariableWritten,
    SignalArrived,
    SnapshotArrived,
    StopRequested,
    WriteOverdue,
)
from supervisor.core.job_deadline import JobVariable
from supervisor.core.lifecycle import Phase
from supervisor.core.model import Endpoint, Origin
from tests.support.policy_simulation import SOURCE, WALL, Simulation, endpoints

HOUR = 3600.0
PLANNED = WALL + HOUR


def job(*ports: int, origin: str = "lb", **settings: str) -> Simulation:
    """
    Return a balancer that serves these replicas of a job.
    """
    access = {"NOMAD_JOB_ID": "lb", "NOMAD_ALLOC_ID": "lb-0", "NOMAD_ADDR": "http://nomad:4646"}
    sim = Simulation({"DEADLINE": format_instant(PLANNED), **access, **settings})
    origins = {each: Origin(f"alloc-{each.port}", "n", origin) for each in endpoints(*ports)}
    sim.send(SnapshotArrived(SOURCE, endpoints(*ports), origins=origins if origin else {}))
    return sim.run(1.0)


def variable(
    deadline: float, *, index: int = 5, planned: float | None = PLANNED, by: str = "extend"
) -> JobVariable:
    """
    Return a variable that was modified a second after the start.
    """
    text = "" if planned is None else format_instant(planned)
    return JobVariable(index, WALL + 1, format_instant(deadline), text, by)


def read(sim: Simulation, found: JobVariable | None) -> Simulation:
    """
    Have the variable read now.
    """
    sim.send(JobVariableRead(found, wall(sim)))
    return sim


def wall(sim: Simulation) -> float:
    """
    Return the wall clock of a simulation.
    """
    return sim.wall + sim.now - 1000.0


def extend(sim: Simulation, by: float = HOUR, **options: Any) -> Simulation:
    """
    Request an extension.
    """
    sim.send(DeadlineRequested(1, wall(sim), by, None, **options))
    return sim


def written(sim: Simulation, deadline: float, **options: Any) -> Simulation:
    """
    Have Nomad confirm the write.
    """
    sim.send(JobVariableWritten(1, wall(sim), variable(deadline, **options)))
    return sim.run(0.5)


def refused(sim: Simulation, status: int | None = 403, error: str = "denied (403)") -> Simulation:
    """
    Have Nomad refuse the write.
    """
    sim.send(JobVariableWritten(1, wall(sim), error=error, status=status))
    return sim.run(0.5)


def reply(sim: Simulation) -> Reply:
    """
    Return the only reply.
    """
    (found,) = sim.commands(Reply)
    return found


def reasons(sim: Simulation, event: str) -> list[object]:
    """
    Return the reasons of the log lines of an event.
    """
    return [line.fields.get("reason") for line in sim.commands(Note) if line.event == event]


class TestFollowing:
    """
    What a reading of the variable does.
    """

    def test_the_deadline_moves(self) -> None:
        """
        With the record and the warnings; the shutdown begins then.
        """
        sim = read(job(1), variable(WALL + 2 * HOUR))

        assert WALL + 2 * HOUR == sim.commands(SaveState)[-1].record.extended_to
        assert "extend" == sim.notes("deadline.moved")[0].fields["moved_by"]
        assert Phase.RUNNING is sim.run(1.9 * HOUR).state.lifetime.phase
        assert sim.run(0.2 * HOUR).state.lifetime.phase is Phase.ENDED

    def test_a_missing_variable_changes_nothing(self) -> None:
        """
        Nor does the same reading again.
        """
        sim = read(read(job(1), None), None)

        assert PLANNED == sim.state.deadline_epoch
        assert [] == sim.notes("deadline.moved")

    def test_a_removed_variable_restores_the_planned_deadline(self) -> None:
        """
        Without one planned, there is none again.
        """
        sim = read(read(job(1, DEADLINE="", TTL="never"), variable(PLANNED)), None)

        assert sim.state.deadline_epoch is None
        assert "variable removed" == sim.notes("deadline.moved")[-1].fields["moved_by"]

    def test_a_problem_is_logged_once(self) -> None:
        """
        It changes nothing.
        """
        bad = variable(PLANNED)._replace(deadline="tomorrow")
        sim = read(read(job(1), bad), bad)

        assert 1 == len(sim.notes("deadline.not_moved"))
        assert PLANNED == sim.state.deadline_epoch

    def test_a_variable_typed_by_hand_is_marked(self) -> None:
        """
        As one of this run, if it has not changed since; not if each task counts its own TTL.
        """
        sim = read(job(1), variable(WALL + 2 * HOUR, planned=None, by=""))
        (mark,) = sim.commands(WriteJobVariable)

        assert (WALL + 2 * HOUR, PLANNED, "hand", 5) == (
            mark.deadline,
            mark.planned,
            mark.moved_by,
            mark.expected,
        )
        assert "hand" == sim.notes("deadline.moved")[0].fields["moved_by"]
        sim = read(job(1, DEADLINE="", TTL="1h"), variable(PLANNED, planned=None, by=""))
        assert [] == sim.commands(WriteJobVariable)

    def test_the_mark_moves_nothing(self) -> None:
        """
        Its index is remembered; without the right it is only a debug line.
        """
        sim = read(job(1), variable(WALL + 2 * HOUR, planned=None, by=""))
        sim.send(JobVariableWritten(0, wall(sim), variable(WALL + 2 * HOUR, index=6, by="hand")))
        assert 6 == sim.state.record.variable
        sim.send(JobVariableWritten(0, wall(sim), error="denied", status=403))

        assert 1 == len(sim.notes("deadline.moved"))
        assert "debug" == sim.notes("job_deadline.not_written")[0].level

    def test_a_past_one_is_not_marked_twice(self) -> None:
        """
        One that was applied before is of this run already.
        """
        sim = job(1)
        sim.send(DeadlineRequested(1, wall(sim), HOUR, None, only_balancer=True))
        read(sim, variable(WALL + HOUR, planned=None, by="")._replace(deadline=""))

        assert [] == sim.commands(WriteJobVariable)

    def test_a_deadline_that_passed_meanwhile_is_due(self) -> None:
        """
        A stop of the job names its reason; after the shutdown has begun nothing moves.
        """
        sim = read(job(1), variable(WALL, by="stop"))
        assert "stop requested" == sim.state.lifetime.ladder.reason
        assert 0 == sim.notes("deadline.moved")[0].fields["remaining"]
        sim = read(job(1), variable(WALL, by="extend"))
        assert "deadline" == sim.state.lifetime.ladder.reason
        read(sim, variable(WALL + 2 * HOUR, index=9))
        assert WALL == sim.state.deadline_epoch

    def test_a_failure_is_logged_once(self) -> None:
        """
        And its end; the deadline stays.
        """
        sim = read(job(1), variable(WALL + 2 * HOUR))
        for _ in range(2):
            sim.send(JobVariableFailed("refused"))
        assert ["refused"] == reasons(sim, "job_deadline.failed")
        assert WALL + 2 * HOUR == sim.state.deadline_epoch
        read(sim, variable(WALL + 2 * HOUR))

        assert 1 == len(sim.notes("job_deadline.recovered"))
        assert sim.state.job_move.failing_since is None

    def test_a_token_without_the_right_is_no_failure(self) -> None:
        """
        It is a line of level info: the job keeps its planned deadline.
        """
        sim = job(1)
        sim.send(JobVariableFailed("denied (403)", is_denied=True))

        assert "info" == sim.notes("job_deadline.failed")[0].level


class TestExtend:
    """
    A request for the whole job.
    """

    def test_it_is_written_first(self) -> None:
        """
        Nothing moves before Nomad has confirmed it; the reply then names what has moved.
        """
        sim = extend(read(job(1, 2), None))
        (write,) = sim.commands(WriteJobVariable)
        assert (PLANNED + HOUR, PLANNED, "extend", 0) == (
            write.deadline,
            write.planned,
            write.moved_by,
            write.expected,
        )
        assert PLANNED == sim.state.deadline_epoch
        written(sim, PLANNED + HOUR)

        assert PLANNED + HOUR == sim.state.deadline_epoch
        assert reply(sim).accepted
        assert reply(sim).text.startswith("balancer and 2 replicas until 2027-01-15T10:00:00Z, in ")

    def test_the_follower_may_be_faster(self) -> None:
        """
        The variable is read before the write is confirmed: the reply is the same.
        """
        sim = written(read(extend(job(1)), variable(PLANNED + HOUR)), PLANNED + HOUR)

        assert reply(sim).text.endswith("it was 2027-01-15T09:00:00Z")
        assert "balancer and 1 replica until" in reply(sim).text

    def test_without_known_replicas(self) -> None:
        """
        The whole job moves all the same.
        """
        sim = written(extend(job(1, origin="other")), PLANNED + HOUR)

        assert reply(sim).text.startswith("the whole job until")

    def test_the_instant_that_it_has_already(self) -> None:
        """
        Nothing is saved again, and the reply does not wait for it.
        """
        sim = read(job(1), variable(PLANNED + HOUR, by="hand"))
        sim.send(DeadlineRequested(1, wall(sim), None, PLANNED + HOUR))
        written(sim, PLANNED + HOUR, by="hand")

        assert reply(sim).accepted

    def test_another_move_at_the_same_time(self) -> None:
        """
        What Nomad has counts, and the reply reports it.
        """
        sim = written(extend(job(1)), PLANNED + 2 * HOUR)

        assert PLANNED + 2 * HOUR == sim.state.deadline_epoch
        assert not reply(sim).accepted
        assert "at the same time" in reply(sim).text

    def test_what_was_written_does_not_count(self) -> None:
        """
        Nomad's clock is behind, for example.
        """
        sim = extend(job(1, DEADLINE="", TTL="1h"))
        late = variable(PLANNED + HOUR)._replace(modified_at=WALL - 5)
        sim.send(JobVariableWritten(1, wall(sim), late))

        assert "of an earlier run" in reply(sim).text

    def test_one_request_at_a_time(self) -> None:
        """
        The second one is refused.
        """
        sim = extend(job(1))
        sim.send(DeadlineRequested(2, wall(sim), HOUR, None))

        assert (2, False) == (reply(sim).ticket, reply(sim).accepted)

    def test_without_the_right_nothing_moves(self) -> None:
        """
        The reply has the policy and the command to type.
        """
        sim = refused(extend(job(1, 2, NOMAD_NAMESPACE="ml")))

        assert PLANNED == sim.state.deadline_epoch
        rights = '{ capabilities = ["read", "write"] }'
        assert [
            (
                "cannot move the deadline of the job: cannot write its variable nomad/jobs/lb:"
                " denied (403); nothing has moved"
            ),
            (
                "only the balancer would move to 2027-01-15T10:00:00Z; 2 replicas would end at"
                " 2027-01-15T09:00:00Z"
            ),
            "for the right to move it, apply jobs/extend.policy.hcl:",
            f'  namespace "ml" {{ variables {{ path "nomad/jobs/lb" {rights} }} }}',
            "  nomad acl policy apply -namespace ml -job lb NAME extend.policy.hcl",
            "by hand, for the whole job:",
            (
                "  nomad var put -force -namespace ml nomad/jobs/lb deadline=2027-01-15T10:00:00Z"
                " planned=2027-01-15T09:00:00Z"
            ),
            "for the balancer alone, add --only-balancer",
        ] == reply(sim).text.split("\n")

    def test_replicas_that_are_not_known(self) -> None:
        """
        Without a job in the registry they may be of this one: nothing moves.
        """
        sim = refused(extend(job(1, origin="")), None, "no response")

        assert "replicas would end at" in reply(sim).text
        assert "policy" not in reply(sim).text

    @pytest.mark.parametrize("until", [None, PLANNED + HOUR])
    def test_no_replica_is_left_behind(self, until: float | None) -> None:
        """
        All are of another job, or in the balancer's allocation: it moves alone, as without Nomad.
        """
        sim = job(1, origin="other")
        by = HOUR if until is None else None
        sim.send(DeadlineRequested(1, wall(sim), by, until))
        refused(sim)

        assert pytest.approx(PLANNED + HOUR) == sim.state.deadline_epoch
        assert reply(sim).accepted
        assert reply(sim).text.endswith("; only the balancer's: denied (403)")

    def test_it_sets_a_first_deadline_alone(self) -> None:
        """
        Where none was set.
        """
        sim = job(1, origin="other", DEADLINE="", TTL="never")
        sim.send(DeadlineRequested(1, wall(sim), None, PLANNED))
        refused(sim)

        assert pytest.approx(PLANNED - WALL, abs=3) == sim.state.lifetime.deadline - 1000

    def test_replicas_of_the_own_allocation_end_with_it(self) -> None:
        """
        So do all with AT_DEADLINE=stop-job, whatever their job.
        """
        sim = job(origin="lb")
        (one,) = endpoints(1)
        sim.send(SnapshotArrived(SOURCE, (one,), origins={one: Origin("lb-0", "n", "lb")}))
        assert reply(refused(extend(sim))).accepted
        sim = job(1, origin="", AT_DEADLINE="stop-job")
        assert reply(refused(extend(sim))).accepted

    def test_a_conflict(self) -> None:
        """
        The variable was modified meanwhile: nothing moves.
        """
        sim = refused(extend(job(1, origin="other")), 409, "it was modified")

        assert "changed at the same time; try again" in reply(sim).text
        assert PLANNED == sim.state.deadline_epoch

    def test_only_the_balancer(self) -> None:
        """
        Nothing is written, and a reading of the same variable does not undo it.
        """
        sim = read(job(1), variable(WALL + 2 * HOUR))
        extend(sim, only_balancer=True).run(0.5)
        read(sim, variable(WALL + 2 * HOUR))

        assert [] == sim.commands(WriteJobVariable)
        assert WALL + 3 * HOUR == sim.state.deadline_epoch
        assert reply(sim).text.endswith("; only the balancer's")

    def test_the_deadline_waits_for_the_answer(self) -> None:
        """
        A request a second before it, confirmed after it, is in time; without an answer it ends.
        """
        sim = job(1)
        sim.run(HOUR - 2)
        sim = extend(sim).run(2.0)
        assert Phase.RUNNING is sim.state.lifetime.phase
        assert Phase.RUNNING is written(sim, PLANNED + HOUR).state.lifetime.phase

        sim = job(1)
        sim.run(HOUR - 2)
        extend(sim).run(10)
        assert "no response of Nomad within 4s" in reply(sim).text
        assert Phase.ENDED is sim.state.lifetime.phase

    def test_a_late_answer_counts(self) -> None:
        """
        The request was answered before; the deadline moves all the same.
        """
        sim = extend(job(1)).run(5)
        assert not reply(sim).accepted
        written(sim, PLANNED + HOUR)

        assert PLANNED + HOUR == sim.state.deadline_epoch

    def test_a_stop_signal_meanwhile(self) -> None:
        """
        The shutdown has begun.
        """
        sim = extend(job(1))
        sim.system.open_connections = 1
        sim.system.effective_signals = frozenset()
        sim.send(SignalArrived(15))
        sim.send(JobVariableWritten(1, wall(sim), error="denied", status=403))

        assert "shutdown has begun" in reply(sim).text

    def test_a_disk_that_hangs(self) -> None:
        """
        The reply does not wait for it.
        """
        sim = extend(job(1))
        sim.send(WriteOverdue(Disk.STATE, "write state.json"))
        written(sim, PLANNED + HOUR)

        assert "a restart would reset it" in reply(sim).text


class TestStop:
    """
    A request to end the whole job.
    """

    def test_it_is_written_first(self) -> None:
        """
        The shutdown begins with the confirmation.
        """
        sim = job(1, 2)
        sim.send(StopRequested(1, wall(sim)))
        (write,) = sim.commands(WriteJobVariable)
        assert ("stop", wall(sim)) == (write.moved_by, write.deadline)
        assert Phase.RUNNING is sim.state.lifetime.phase
        written(sim, write.deadline, by="stop")

        assert (
            "; 2 replicas of this job end after that, if they follow nomad/jobs/lb"
            in reply(sim).text
        )
        assert "stop requested" == sim.state.lifetime.ladder.reason

    def test_the_follower_may_be_faster(self) -> None:
        """
        The variable begins the shutdown, and the request gets its reply.
        """
        sim = job(1)
        sim.system.effective_signals = frozenset()
        sim.send(StopRequested(1, wall(sim)))
        read(sim, variable(wall(sim), by="stop"))
        written(sim, wall(sim), by="stop")

        assert reply(sim).accepted

    def test_a_refused_variable_still_stops_the_balancer(self) -> None:
        """
        It was written, but does not count here: the balancer stops all the same.
        """
        sim = job(origin="other")
        sim.send(StopRequested(1, wall(sim)))
        bad = variable(wall(sim), by="stop")._replace(deadline="tomorrow")
        sim.send(JobVariableWritten(1, wall(sim), bad))

        assert "; the job's other tasks end after that" in reply(sim).text

    def test_without_the_right_nothing_stops(self) -> None:
        """
        The reply has the command that stops the job.
        """
        sim = job(1)
        sim.send(StopRequested(1, wall(sim)))
        refused(sim)

        assert Phase.RUNNING is sim.state.lifetime.phase
        assert "only the balancer would stop; 1 replica would end at" in reply(sim).text
        assert "nomad job stop -namespace default lb" in reply(sim).text

    @pytest.mark.parametrize("only_balancer", [True, False])
    def test_the_balancer_alone(self, *, only_balancer: bool) -> None:
        """
        On request, or if no replica is left behind.
        """
        sim = job(1, origin="lb" if only_balancer else "other")
        sim.send(StopRequested(1, wall(sim), only_balancer=only_balancer))
        if not only_balancer:
            refused(sim)

        assert "; only the balancer's" in reply(sim).text
        assert "stop requested" == sim.state.lifetime.ladder.reason


def test_an_endpoint_without_an_origin_is_unknown() -> None:
    """
    The registry is a file, for example.
    """
    sim = job(1, origin="")

    assert [Endpoint("10.0.0.1", 1)] == list(sim.state.endpoint_set.known)
