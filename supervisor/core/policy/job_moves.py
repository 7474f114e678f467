"""
Rules for the deadline of the whole job, which is a Nomad variable that all of its tasks follow.

A request for the whole job is written to the variable, and has an effect once Nomad has confirmed
it.  If it cannot be written, nothing moves, because the replicas would end at the old deadline; the
balancer moves alone only if it knows that no replica depends on the variable, or on request.
"""

import shlex
from dataclasses import replace
from typing import NamedTuple

from supervisor.core import deadline, endpoint_set, job_deadline, job_move, lifecycle
from supervisor.core.commands import Command, Reply, SaveState, WriteJobVariable, note
from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.durations import format_instant, format_span
from supervisor.core.events import (
    Disk,
    JobVariableFailed,
    JobVariableRead,
    JobVariableWritten,
)
from supervisor.core.job_deadline import JobVariable
from supervisor.core.job_move import Write
from supervisor.core.lifecycle import Phase
from supervisor.core.model import NEVER
from supervisor.core.policy import endpoints, idle_end, shutdown
from supervisor.core.state import Decision, State

UNSAVED = "the deadline could not be saved and a restart would reset it"

_CONFLICT = 409


class Replicas(NamedTuple):
    """
    The replicas that a move of the balancer alone would leave behind, as far as it is known.

    `allocations` counts those of this job in other allocations; `unknown` the endpoints without a
    job in the registry.
    """

    allocations: int
    unknown: int

    @property
    def may_stay_behind(self) -> bool:
        """Whether there are any, or nothing is known."""
        return bool(self.allocations or self.unknown)


def replicas(state: State) -> Replicas:
    """
    Count the replicas that may follow the job's variable.

    A task of the balancer's own allocation ends with it, and with AT_DEADLINE=stop-job all do.
    """
    settings, allocations, unknown = state.settings, set[str](), 0
    for endpoint in state.endpoint_set.known:
        origin = endpoint_set.origin(state.endpoint_set, endpoint)
        if origin is None or not origin.job:
            unknown += 1
        elif origin.job == settings.nomad_job_id and origin.allocation != settings.nomad_alloc_id:
            allocations.add(origin.allocation)
    if settings.stops_job:
        unknown = 0
    return Replicas(len(allocations), unknown)


def start_write(state: State, ticket: int, moved_by: str, target: float, now: float) -> Decision:
    """
    Write the deadline `target` to the variable, unless a write is in progress.
    """
    if state.job_move.write is not None:
        text = "cannot move the deadline: another request is being written; try again"
        return state, [Reply(ticket, False, text)]
    write = Write(ticket, moved_by, target, now + job_move.WRITE_TIMEOUT)
    state = replace(state, job_move=replace(state.job_move, write=write))
    planned = planned_deadline(state.record)
    expected = state.job_move.expected
    return state, [WriteJobVariable(ticket, target, planned, moved_by, expected)]


def planned_deadline(record: DeadlineRecord) -> float | None:
    """
    Return the deadline that all tasks of this run share, None if each counts its own TTL.
    """
    return record.deadline if record.origin.startswith("DEADLINE=") else None


def on_read(state: State, event: JobVariableRead, now: float) -> Decision:
    """
    Apply the variable, and mark one that was typed by hand as one of this run.

    A reading of what is being written confirms the write: a shutdown would not wait for the answer.
    """
    write = state.job_move.write
    if write is not None and _is_of(write, event.variable):
        written = JobVariableWritten(write.ticket, event.wall, event.variable)
        return on_written(state, written, now)
    recovered = state.job_move.failing_since is not None
    lines: list[Command] = [note("job_deadline.recovered")] if recovered else []
    state, commands = _apply(state, event.variable, event.wall, now)
    commands = [*lines, *commands]
    variable, planned = event.variable, planned_deadline(state.record)
    is_unmarked = variable is not None and not variable.planned and not variable.moved_by
    if variable is None or not is_unmarked or planned is None or state.job_move.problem:
        return state, commands
    if state.record.variable != variable.modify_index or state.record.end is None:
        return state, commands
    mark = WriteJobVariable(
        0, state.record.end, planned, job_move.HAND, expected=variable.modify_index
    )
    return state, [*commands, mark]


def on_failed(state: State, event: JobVariableFailed, now: float) -> Decision:
    """
    Log that the variable cannot be read, once; the known deadline stays.

    A token that may not read it is no failure: the job keeps its planned deadline.
    """
    is_new = state.job_move.failing_since is None
    move = job_move.on_failure(state.job_move, event.reason, is_denied=event.is_denied, now=now)
    line = note(
        "job_deadline.failed",
        "info" if event.is_denied else "warning",
        reason=event.reason,
        hint="keeping the deadline",
    )
    return replace(state, job_move=move), [line] if is_new else []


def on_written(state: State, event: JobVariableWritten, now: float) -> Decision:
    """
    Apply what was written, and reply to the request; without one, only log.
    """
    write = state.job_move.write
    if write is None or write.ticket != event.ticket:
        if event.variable is None:
            return state, [note("job_deadline.not_written", "debug", reason=event.error)]
        return _apply(state, event.variable, event.wall, now)
    state = replace(state, job_move=replace(state.job_move, write=None))
    if event.variable is None:
        return _on_refusal(state, write, event, now)
    before = state.record
    state, commands = _apply(state, event.variable, event.wall, now)
    if write.moved_by == job_move.STOP:
        return _reply_to_stop(state, write, commands, now)
    reached = state.record.end
    if reached is None or abs(reached - write.target) > 0.002:
        problem = state.job_move.problem or f"it was moved to {shown(reached)} at the same time"
        text = f"cannot move the deadline: {problem}; it is {shown(reached)}"
        return state, [*commands, Reply(write.ticket, False, text)]
    text = _moved_text(state, before.end, now)
    return with_reply(state, Reply(write.ticket, True, text), commands)


def perform_due(state: State, now: float) -> Decision:
    """
    Give up a write that has no answer; what was written is applied when it is read.
    """
    write = state.job_move.write
    if write is None or now < write.until:
        return state, []
    state = replace(state, job_move=replace(state.job_move, write=None))
    limit = format_span(job_move.WRITE_TIMEOUT)
    answer = JobVariableWritten(write.ticket, 0.0, error=f"no response of Nomad within {limit}")
    return _on_refusal(state, write, answer, now)


def is_awaited(state: State, now: float) -> bool:
    """
    Whether the deadline waits for the answer to a write that began before it.
    """
    return state.job_move.write is not None and now < state.job_move.write.until


def set_deadline(
    state: State, record: DeadlineRecord, instant: float, now: float, moved_by: str = ""
) -> Decision:
    """
    Move the deadline to an instant of the loop's clock; `record` has it in epoch seconds.
    """
    old, remaining = state.record.end, instant - now
    is_later = instant > state.lifetime.deadline
    state = replace(
        state,
        record=record,
        lifetime=replace(state.lifetime, deadline=instant),
        warns_before=deadline.next_warning(state.settings.warn_at, remaining),
        in_lame_duck=False,
    )
    if is_later:
        state = idle_end.restart_clock(state, now)
    line = note(
        "deadline.moved",
        was=shown(old),
        deadline=shown(record.end),
        remaining=None if instant == NEVER else round(remaining),
        moved_by=moved_by or "extend",
    )
    return endpoints.offer_plan(state, now, [SaveState(record), line])


def with_reply(state: State, reply: Reply, commands: list[Command]) -> Decision:
    """
    Send a reply once the deadline is saved, or at once if its disk hangs.
    """
    if Disk.STATE in state.overdue:
        return state, [*commands, replace(reply, text=f"{reply.text}; {UNSAVED}")]
    if not any(isinstance(command, SaveState) for command in commands):
        return state, [*commands, reply]  # it was saved, or is being saved, after the reading
    return replace(state, pending_replies=(*state.pending_replies, reply)), commands


def move_alone(
    state: State, moved: deadline.Moved, ticket: int, suffix: str, now: float
) -> Decision:
    """
    Move the balancer's deadline only.
    """
    old, remaining = state.record.end, moved.deadline - now
    state, commands = set_deadline(state, moved.record, moved.deadline, now)
    left = format_span(round(remaining))
    text = f"the deadline is now {shown(moved.record.end)}, in {left}; it was {shown(old)}{suffix}"
    return with_reply(state, Reply(ticket, True, text), commands)


def stop_alone(state: State, ticket: int, suffix: str, now: float) -> Decision:
    """
    Begin the shutdown of the balancer only.
    """
    total = state.settings.drain_timeout
    life = lifecycle.drain(state.lifetime, job_move.REASONS[job_move.STOP], total, now)
    state, commands = shutdown.start_shutdown(state, life)
    text = f"shutting down: open requests have {format_span(total)}{suffix}"
    return state, [*commands, Reply(ticket, True, text)]


def shown(epoch: float | None) -> str:
    """
    Format a deadline for people.
    """
    return "never" if epoch is None else format_instant(epoch)


def _is_of(write: Write, variable: JobVariable | None) -> bool:
    """Return whether the variable is what is being written."""
    return variable is not None and (variable.moved_by, variable.deadline) == (
        write.moved_by,
        job_deadline.format_deadline(write.target),
    )


def _apply(state: State, variable: JobVariable | None, wall: float, now: float) -> Decision:
    """Apply the variable to the deadline, unless the shutdown has begun."""
    followed = job_deadline.follow(state.record, variable, state.settings.max_ttl)
    is_new_problem = followed.problem and followed.problem != state.job_move.problem
    state = replace(
        state, job_move=job_move.on_read(state.job_move, variable, followed.problem, now)
    )
    commands: list[Command] = []
    if is_new_problem:
        commands.append(note("deadline.not_moved", "warning", reason=followed.problem))
    if state.lifetime.phase is not Phase.RUNNING or followed.record == state.record:
        return state, commands
    end = followed.record.end
    if end == state.record.end:
        return replace(state, record=followed.record), [*commands, SaveState(followed.record)]
    moved_by = variable.moved_by if variable is not None else ""
    instant = NEVER if end is None else max(now, now + end - wall)
    state, more = set_deadline(
        state,
        followed.record,
        instant,
        now,
        moved_by=moved_by or ("variable removed" if variable is None else job_move.HAND),
    )
    commands = [*commands, *more]
    if instant <= now and moved_by in job_move.REASONS:
        life = lifecycle.drain(
            state.lifetime, job_move.REASONS[moved_by], state.settings.drain_timeout, now
        )
        state, more = shutdown.start_shutdown(state, life)
        commands = [*commands, *more]
    return state, commands


def _reply_to_stop(state: State, write: Write, commands: list[Command], now: float) -> Decision:
    found = replicas(state).allocations
    others = f"{_count(found)} of this job" if found else "the job's other tasks"
    them = f"; {others} end after that, if they follow {state.settings.job_variable}"
    if state.lifetime.is_ending:  # the variable has begun it
        total = state.settings.drain_timeout
        text = f"shutting down: open requests have {format_span(total)}{them}"
        return state, [*commands, Reply(write.ticket, True, text)]
    state, more = stop_alone(state, write.ticket, them, now)
    return state, [*commands, *more]


def _on_refusal(state: State, write: Write, answer: JobVariableWritten, now: float) -> Decision:
    """Act on a move that could not be written: alone if nothing is left behind, else not at all."""
    left_behind = replicas(state)
    if state.lifetime.is_ending:
        text = "cannot move the deadline: shutdown has begun"
        return state, [Reply(write.ticket, write.moved_by == job_move.STOP, text)]
    if left_behind.may_stay_behind or answer.status == _CONFLICT:
        text = _refusal(state, write, answer, left_behind)
        line = note("deadline.not_moved", "warning", reason=answer.error)
        return state, [line, Reply(write.ticket, False, text)]
    suffix = f"; only the balancer's: {answer.error}"
    if write.moved_by == job_move.STOP:
        return stop_alone(state, write.ticket, suffix, now)
    old = state.record.end
    instant = state.lifetime.deadline + write.target - old if old is not None else NEVER
    record = state.record._replace(extended_to=write.target, moved_by="")
    if instant == NEVER:
        instant = now + max(0.0, write.target - answer.wall)
    return move_alone(state, deadline.Moved(record, instant), write.ticket, suffix, now)


def _refusal(state: State, write: Write, answer: JobVariableWritten, left_behind: Replicas) -> str:
    """Return why nothing has moved, what would stay behind, and what to do."""
    settings, path = state.settings, state.settings.job_variable
    act = "stop the job" if write.moved_by == job_move.STOP else "move the deadline of the job"
    until = shown(state.record.end)
    if answer.status == _CONFLICT:
        return f"cannot {act}: its variable {path} was changed at the same time; try again"
    who = _count(left_behind.allocations) if left_behind.allocations else "replicas"
    verb = "stop" if write.moved_by == job_move.STOP else f"move to {shown(write.target)}"
    lines = [
        f"cannot {act}: cannot write its variable {path}: {answer.error}; nothing has moved",
        f"only the balancer would {verb}; {who} would end at {until}",
    ]
    if answer.status in {401, 403}:
        job, namespace = shlex.quote(settings.nomad_job_id), settings.nomad_namespace
        rights = '{ capabilities = ["read", "write"] }'
        lines += [
            "for the right to move it, apply jobs/extend.policy.hcl:",
            f'  namespace "{namespace}" {{ variables {{ path "{path}" {rights} }} }}',
            f"  nomad acl policy apply -namespace {namespace} -job {job} NAME extend.policy.hcl",
        ]
    planned = planned_deadline(state.record)
    command = (
        f"nomad job stop -namespace {settings.nomad_namespace} {shlex.quote(settings.nomad_job_id)}"
        if write.moved_by == job_move.STOP
        else job_deadline.put_command(path, settings.nomad_namespace, write.target, planned)
    )
    lines += ["by hand, for the whole job:", f"  {command}"]
    lines += ["for the balancer alone, add --only-balancer"]
    return "\n".join(lines)


def _moved_text(state: State, was: float | None, now: float) -> str:
    left = format_span(max(0, round(state.lifetime.deadline - now)))
    found = replicas(state)
    who = f"balancer and {_count(found.allocations)}" if found.allocations else "the whole job"
    return f"{who} until {shown(state.record.end)}, in {left}; it was {shown(was)}"


def _count(allocations: int) -> str:
    return f"{allocations} replica{'s'[: allocations != 1]}"
