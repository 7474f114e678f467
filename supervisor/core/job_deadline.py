"""
The deadline of the whole job: a Nomad variable, `nomad/jobs/JOB`, which all of its tasks follow.

Theory: the variable replaces the planned deadline of a task while it exists.  It outlives its job,
so it counts only if it is of this run: it was modified after the task's first start, or it names
the deadline that it replaces (`planned`), and that is the DEADLINE of this task.  A task that is
placed after the move has only the second proof.  A value that is no instant, that was past when it
was written, or that is beyond MAX_TTL is refused and changes nothing.  One that has passed since
then has only been read late: it counts, so that a task ends with the others.

All times are epoch seconds; those of Nomad are of its servers, the first start is of this host.

Used for nginx and for a command under `exec`: standard library only and Python 3.9.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from supervisor.core.durations import format_instant, parse_instant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supervisor.core.deadline_record import DeadlineRecord

#: Who moved the deadline, as the record stores it, if the variable did.
BY_JOB = "job"

#: The items of the variable.  Others belong to somebody else, and are kept.
DEADLINE, PLANNED, MOVED_BY = "deadline", "planned", "moved_by"

#: How long a query may wait for a change, in seconds, and what Nomad adds to it at most.
WAIT = 300.0
MAX_WAIT = WAIT * 17 / 16

#: How long a variable must be absent until the planned deadline is restored, in seconds: a registry
#: that is being restored misses it for a moment.
CONFIRM_DELAY = 1.05

#: What Nomad appends to a parent job's ID to form a child's, whose tasks may not read a variable of
#: their own.
_CHILD_JOB = re.compile("/(?:dispatch|periodic)-")

_MAX_TEXT = 64


class JobVariable(NamedTuple):
    """
    The variable as Nomad returned it; texts of items are empty if they are missing.

    `modify_index` is that of its last modification, which names it, and `modified_at` the instant.
    """

    modify_index: int
    modified_at: float
    deadline: str = ""
    planned: str = ""
    moved_by: str = ""


class Followed(NamedTuple):
    """
    The record after a look at the variable, and why the variable does not count, if it does not.
    """

    record: DeadlineRecord
    problem: str = ""


class Following(NamedTuple):
    """
    What a follower knows: the last variable, and from which index to query next.

    `is_known`: there was an answer; `is_confirming`: the last one had no variable any more, and is
    not confirmed yet.
    """

    next_index: int = 0
    failures: int = 0
    last: JobVariable | None = None
    is_known: bool = False
    is_confirming: bool = False


class Answered(NamedTuple):
    """
    What follows from an answer: the pause before the next query, in seconds, and whether the answer
    counts and differs from the last one that did.
    """

    following: Following
    pause: float
    counts: bool = False
    is_changed: bool = False


def variable_path(job: str) -> str:
    """
    Return the path of a job's variable, empty if there is none that its tasks may read.
    """
    return f"nomad/jobs/{job}" if job and not _CHILD_JOB.search(job) else ""


def parse_variable(value: object) -> JobVariable:
    """
    Return the variable in a parsed response.  Raises ValueError.
    """
    if isinstance(value, dict):
        items, index, modified = (
            value.get("Items"),
            value.get("ModifyIndex"),
            value.get("ModifyTime"),
        )
        if isinstance(items, dict) and type(index) is int and type(modified) is int:
            texts = [_text(items.get(name)) for name in (DEADLINE, PLANNED, MOVED_BY)]
            return JobVariable(index, modified / 1e9, *texts)
    raise ValueError("the response is not a variable")


def follow(record: DeadlineRecord, variable: JobVariable | None, max_ttl: float | None) -> Followed:
    """
    Apply the variable, None if it is absent, to the record of this task.

    A variable that has been applied before changes nothing, so that what was moved after it for
    this task alone stays.
    """
    if variable is None or not variable.deadline:
        if record.moved_by != BY_JOB:
            return Followed(record)
        return Followed(record._replace(extended_to=None, moved_by="", variable=0))
    if variable.modify_index == record.variable:
        return Followed(record)
    try:
        instant = parse_instant(variable.deadline)
    except ValueError as error:
        return Followed(record, f"{DEADLINE}={variable.deadline!r}: {error}")
    problem = _problem(record, variable, instant, max_ttl)
    if problem:
        return Followed(record, problem)
    return Followed(
        record._replace(extended_to=instant, moved_by=BY_JOB, variable=variable.modify_index)
    )


def format_deadline(epoch: float) -> str:
    """
    Format an instant to the second if it is whole, and to the millisecond otherwise.
    """
    text = format_instant(epoch)
    return text if epoch == int(epoch) else f"{text[:-1]}.{int(epoch % 1 * 1000):03d}Z"


def items_for(
    items: Mapping[str, object], deadline: float, planned: float | None, moved_by: str
) -> dict[str, object]:
    """
    Return the items of a variable that moves the deadline; the items of others are kept.
    """
    ours = {DEADLINE: format_deadline(deadline), MOVED_BY: moved_by}
    if planned is not None:
        ours[PLANNED] = format_instant(planned)
    others = {
        name: text for name, text in items.items() if name not in (DEADLINE, PLANNED, MOVED_BY)
    }
    return {**others, **ours}


def put_command(path: str, namespace: str, deadline: float, planned: float | None) -> str:
    """
    Return the command that a person can type to move the deadline of the whole job.
    """
    words = ["nomad var put -force"]
    words += [f"-namespace {namespace}"] if namespace != "default" else []
    words += [path, f"{DEADLINE}={format_instant(deadline)}"]
    words += [] if planned is None else [f"{PLANNED}={format_instant(planned)}"]
    return " ".join(words)


def on_answer(
    following: Following,
    variable: JobVariable | None,
    next_index: int,
    *,
    took: float,
    chance: float,
) -> Answered:
    """
    Follow from an answer that took so many seconds; its index is 0 if it has none.
    """
    is_changed = not following.is_known or variable != following.last
    if variable is None and following.last is not None and not following.is_confirming:
        again = following._replace(failures=0, next_index=0, is_confirming=True)
        return Answered(again, CONFIRM_DELAY)
    index = next_index if next_index >= following.next_index else 0
    pause = pause_after_answer(took, has_index=bool(index), is_changed=is_changed, chance=chance)
    known = Following(next_index=index, last=variable, is_known=True)
    return Answered(known, pause, counts=True, is_changed=is_changed)


def on_query_failure(following: Following) -> Following:
    """
    Query without an index after a failure; the last variable stays known.
    """
    return following._replace(failures=following.failures + 1, next_index=0, is_confirming=False)


def pause_after_answer(took: float, *, has_index: bool, is_changed: bool, chance: float) -> float:
    """
    Return the pause in seconds before the next query; `chance` is a random number in [0, 1).

    While the variable is absent, a change of any other variable of the cluster ends a query, so one
    that returned early without a change is followed by a pause, with jitter.
    """
    if not has_index:
        return 5.0 + 5.0 * chance
    return 0.0 if is_changed or took > 1.0 else 0.5 + 0.4 * chance


def pause_after_failure(
    failures: int, *, is_refused: bool, is_denied: bool, retry_after: float | None, chance: float
) -> float:
    """
    Return the pause in seconds after so many failures in a row, at least one.

    `is_refused`: nothing listens; `is_denied`: the token may not read the variable.
    """
    if is_denied:
        limit = first = 60.0
    else:
        limit, first = (2.0 if is_refused else 5.0), 0.1
    pause = min(limit, first * 2.0 ** min(failures - 1, 16))
    if retry_after:
        pause = max(pause, min(retry_after, 60.0))
    return pause * (0.5 + chance / 2)


def _problem(
    record: DeadlineRecord, variable: JobVariable, instant: float, max_ttl: float | None
) -> str:
    """Return why a variable with this instant does not count, empty if it does."""
    shown, planned = f"{DEADLINE}={variable.deadline}", record.deadline
    if variable.modified_at < record.first_start and not _names(variable, record):
        replaced = f"it replaces {variable.planned}" if variable.planned else "it names no run"
        return f"{shown} was set before this start, and {replaced}: it is of an earlier run"
    if instant <= variable.modified_at and not variable.moved_by:
        return f"{shown} was past when it was set: run `autoexit-nginx stop` to end the job"
    bound = None if max_ttl is None else record.first_start + max_ttl
    if bound is not None and instant > bound and (planned is None or instant > planned):
        return f"{shown} is beyond {format_instant(bound)}, the limit set by MAX_TTL"
    return ""


def _names(variable: JobVariable, record: DeadlineRecord) -> bool:
    """Return whether the variable replaces the DEADLINE of this task, to the second."""
    if record.deadline is None or not record.origin.startswith("DEADLINE="):
        return False
    try:
        return abs(parse_instant(variable.planned) - record.deadline) <= 1
    except ValueError:
        return False


def _text(value: object) -> str:
    return value[:_MAX_TEXT].strip() if isinstance(value, str) else ""
