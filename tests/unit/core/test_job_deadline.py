"""
The variable of the job's deadline: which values count, and what they do to a task's record.
"""

import pytest

from supervisor.core import job_deadline
from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.durations import format_instant
from supervisor.core.job_deadline import JobVariable, follow

START = 1_800_000_000.0
HOUR = 3600.0
PLANNED = START + HOUR


def record(**changes: object) -> DeadlineRecord:
    """
    Return the record of a task with a shared DEADLINE, an hour after its start.
    """
    found = DeadlineRecord("a1", START, f"DEADLINE={format_instant(PLANNED)}", PLANNED)
    return found._replace(**changes)


def variable(
    deadline: float | str, *, after: float = 60.0, planned: float | str = "", by: str = ""
) -> JobVariable:
    """
    Return a variable that was modified `after` seconds after the task's start.
    """
    texts = [
        format_instant(each) if isinstance(each, float) else each for each in (deadline, planned)
    ]
    return JobVariable(7, START + after, *texts, by)


def test_a_variable_replaces_the_planned_deadline() -> None:
    """
    The record keeps both, and the index of the variable.
    """
    found = follow(record(), variable(START + 2 * HOUR), None).record

    assert (PLANNED, START + 2 * HOUR) == (found.deadline, found.end)
    assert ("job", 7) == (found.moved_by, found.variable)


def test_a_removed_variable_restores_the_planned_deadline() -> None:
    """
    So does one without the item; without a move nothing changes.
    """
    moved = follow(record(), variable(START + 2 * HOUR), None).record

    assert record() == follow(moved, None, None).record
    assert record() == follow(moved, JobVariable(9, START), None).record
    assert record() == follow(record(), None, None).record


def test_a_move_of_this_task_alone_stays() -> None:
    """
    Without a variable, and with one that was applied before it; a later one replaces it.
    """
    alone = record(extended_to=START + 3 * HOUR, variable=7)

    assert alone == follow(alone, None, None).record
    assert alone == follow(alone, variable(START + 2 * HOUR), None).record
    later = variable(START + 2 * HOUR)._replace(modify_index=8)
    assert START + 2 * HOUR == follow(alone, later, None).record.end


class TestStale:
    """
    A variable outlives its job.
    """

    def test_one_of_an_earlier_run_is_ignored(self) -> None:
        """
        It replaces another deadline, or names none, and was modified before this start.
        """
        for planned in (PLANNED - 500, "", "soon"):
            found = follow(record(), variable(START + 9 * HOUR, after=-1, planned=planned), None)

            assert record() == found.record
            assert "of an earlier run" in found.problem

    def test_one_that_replaces_this_deadline_counts(self) -> None:
        """
        A task that is placed after the move takes it, also when it has passed.
        """
        for deadline in (START + 9 * HOUR, START - 60):
            given = variable(deadline, after=-90, planned=PLANNED + 0.4, by="extend")

            assert deadline == follow(record(), given, None).record.end

    @pytest.mark.parametrize("origin,deadline", [("TTL=1h", PLANNED), ("TTL=never", None)])
    def test_a_ttl_names_no_run(self, origin: str, deadline: float | None) -> None:
        """
        Each allocation counts its own TTL, so only a modification after its start counts.
        """
        mine = record(origin=origin, deadline=deadline)
        before = variable(START + 2 * HOUR, after=-1, planned=PLANNED)

        assert follow(mine, before, None).problem
        assert START + 2 * HOUR == follow(mine, variable(START + 2 * HOUR), None).record.end


class TestRefused:
    """
    Values that change nothing.
    """

    def test_no_instant(self) -> None:
        """
        The reason has the value.
        """
        found = follow(record(), variable("tomorrow"), None)

        assert record() == found.record
        assert found.problem.startswith("deadline='tomorrow': expected a time")

    def test_past_when_it_was_typed(self) -> None:
        """
        A typing error must not end the job; one that passed later was only read late.
        """
        assert "was past" in follow(record(), variable(START + 30.0), None).problem
        assert "" == follow(record(), variable(START + 61.0), None).problem
        assert "" == follow(record(), variable(START + 30.0, by="stop"), None).problem

    def test_beyond_max_ttl(self) -> None:
        """
        Counted from the first start; the planned deadline itself is permitted.
        """
        assert "MAX_TTL" in follow(record(), variable(START + 2 * HOUR), 1.5 * HOUR).problem
        assert "" == follow(record(), variable(START + 2 * HOUR), 2 * HOUR).problem
        assert "" == follow(record(), variable(PLANNED), 60.0).problem
        endless = record(origin="TTL=never", deadline=None)
        assert "MAX_TTL" in follow(endless, variable(PLANNED), 60.0).problem


def test_a_response_is_parsed() -> None:
    """
    What is no text is no item; anything else than a variable is an error.
    """
    items = {"deadline": " 2027-01-01T00:00Z ", "planned": 3, "other": "x"}
    found = job_deadline.parse_variable(
        {"Items": items, "ModifyIndex": 3, "ModifyTime": 1_500_000_000}
    )

    assert JobVariable(3, 1.5, "2027-01-01T00:00Z") == found
    for wrong in ([], {}, {"Items": 1}, {"Items": {}, "ModifyIndex": "1", "ModifyTime": 1}):
        with pytest.raises(ValueError, match="not a variable"):
            job_deadline.parse_variable(wrong)


def test_a_move_keeps_the_items_of_others() -> None:
    """
    The deadline has milliseconds if it needs them; without a shared deadline no `planned` stays.
    """
    before = {"theirs": "1", "planned": "old", "deadline": "old"}

    found = job_deadline.items_for(before, START + 0.5, None, "extend")
    assert {"theirs": "1", "deadline": "2027-01-15T08:00:00.500Z", "moved_by": "extend"} == found
    found = job_deadline.items_for({}, START, PLANNED, "stop")
    assert ("2027-01-15T08:00:00Z", "2027-01-15T09:00:00Z") == (found["deadline"], found["planned"])


def test_the_command_to_type() -> None:
    """
    It names the namespace unless it is Nomad's default, and the planned deadline if it is shared.
    """
    at = "2027-01-15T08:00:00Z"

    assert f"nomad var put -force nomad/jobs/lb deadline={at} planned=2027-01-15T09:00:00Z" == (
        job_deadline.put_command("nomad/jobs/lb", "default", START, PLANNED)
    )
    assert f"nomad var put -force -namespace ml nomad/jobs/lb deadline={at}" == (
        job_deadline.put_command("nomad/jobs/lb", "ml", START, None)
    )


@pytest.mark.parametrize("job", ["", "fit/dispatch-1764-ab", "fit/periodic-1764"])
def test_a_child_job_has_no_variable(job: str) -> None:
    """
    Its tasks may read only that of the parent, which is also that of the other children.
    """
    assert "" == job_deadline.variable_path(job)
    assert "nomad/jobs/fit" == job_deadline.variable_path("fit")


def test_pauses() -> None:
    """
    None after a change or a long wait; a short one, with jitter, after any other variable's change.
    """
    pause = job_deadline.pause_after_answer

    assert 0 == pause(0.1, has_index=True, is_changed=True, chance=0.5)
    assert 0 == pause(300, has_index=True, is_changed=False, chance=0.5)
    assert 0.5 <= pause(0.1, has_index=True, is_changed=False, chance=0.5) < 0.9
    assert 5 <= pause(0.1, has_index=False, is_changed=True, chance=0.5) < 10


@pytest.mark.parametrize(
    "failures,refused,denied,retry_after,expected",
    [
        (1, False, False, None, 0.1),
        (9, True, False, None, 2.0),
        (9, False, False, None, 5.0),
        (1, False, True, None, 60.0),
        (1, False, False, 20.0, 20.0),
        (1, False, False, 999.0, 60.0),
    ],
)
def test_pauses_after_failures(
    *, failures: int, refused: bool, denied: bool, retry_after: float | None, expected: float
) -> None:
    """
    They grow to a few seconds, and to a minute if the token may not read the variable.
    """
    found = [
        job_deadline.pause_after_failure(
            failures, is_refused=refused, is_denied=denied, retry_after=retry_after, chance=chance
        )
        for chance in (0.0, 1.0)
    ]

    assert [expected / 2, expected] == pytest.approx(found)


def test_a_removed_variable_counts_at_the_second_answer() -> None:
    """
    A registry that is being restored misses it for a moment: it is queried again without an index.
    """
    known = job_deadline.Following(7, last=variable(PLANNED), is_known=True)
    first = job_deadline.on_answer(known, None, 9, took=300, chance=0.5)
    assert (False, job_deadline.CONFIRM_DELAY) == (first.counts, first.pause)
    assert 0 == first.following.next_index

    second = job_deadline.on_answer(first.following, None, 9, took=0.1, chance=0.5)
    assert (True, True, 0) == (second.counts, second.is_changed, second.pause)
    assert job_deadline.Following(9, is_known=True) == second.following


def test_an_answer_changes_something_only_if_it_differs() -> None:
    """
    The first one does, even without a variable; an index that has gone back starts anew.
    """
    first = job_deadline.on_answer(job_deadline.Following(), None, 9, took=0.1, chance=0.5)
    assert (True, True) == (first.counts, first.is_changed)
    same = job_deadline.on_answer(first.following, None, 8, took=300, chance=0.5)
    assert (True, False) == (same.counts, same.is_changed)
    assert 0 == same.following.next_index


def test_a_failure_keeps_the_last_variable() -> None:
    """
    The next query waits for nothing, and an absence has to be confirmed anew.
    """
    known = job_deadline.Following(7, 1, variable(PLANNED), is_known=True, is_confirming=True)
    failed = job_deadline.on_query_failure(known)
    assert job_deadline.Following(0, 2, known.last, is_known=True) == failed
