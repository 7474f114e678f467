"""
Rules for admin requests (move the deadline, stop) and for the warnings before the deadline.

Each request receives a Reply with its result or the reason for its refusal.  The reply to a moved
deadline is sent once the deadline is saved or saving it has failed.  Both act on the whole job if
its variable can be written: see `job_moves`.
"""

from dataclasses import replace
from typing import assert_never

from supervisor.core import deadline, job_move
from supervisor.core.commands import Command, Reply, note
from supervisor.core.durations import format_span
from supervisor.core.events import (
    AdminRequest,
    DeadlineRequested,
    Disk,
    StateSaved,
    StopRequested,
    WriteOverdue,
    WriteResumed,
)
from supervisor.core.lifecycle import Phase
from supervisor.core.policy import job_moves
from supervisor.core.state import Decision, State

_HINTS = {
    Disk.CONFIG: "changes of endpoints and files wait; check RUNTIME_DIR and OPERATOR_DIR",
    Disk.STATE: "a restart would reset the deadline; check STATE_DIR",
}


def handle_request(state: State, request: AdminRequest, now: float) -> Decision:
    """
    Perform a request, or refuse it with the reason.
    """
    match request:
        case DeadlineRequested():
            return _move_deadline(state, request, now)
        case StopRequested():
            return _stop(state, request, now)
        case _:
            assert_never(request)


def on_state_saved(state: State, event: StateSaved) -> Decision:
    """
    Send the replies that waited for the deadline to be saved.
    """
    state = replace(state, is_saved=not event.error)
    commands: list[Command] = []
    if event.error:
        hint = "a restart would reset the deadline"
        commands.append(note("state.not_saved", "warning", reason=event.error, hint=hint))
    if event.record != state.record:  # the result for an earlier record
        return state, commands
    for reply in state.pending_replies:
        text = f"{reply.text}; {job_moves.UNSAVED}: {event.error}" if event.error else reply.text
        commands.append(replace(reply, text=text))
    return replace(state, pending_replies=()), commands


def on_disk_event(state: State, event: WriteOverdue | WriteResumed) -> Decision:
    """
    Report a disk that hangs, and that it responds again; nothing else waits for it.

    A request to move the deadline is answered: the deadline has moved, but is not saved.
    """
    others = {disk: task for disk, task in state.overdue.items() if disk is not event.disk}
    if isinstance(event, WriteResumed):
        line = note("disk.responds", disk=event.disk, duration=round(event.duration, 1))
        return replace(state, overdue=others), [line]
    limit = format_span(state.settings.start_timeout)
    reason = f"cannot {event.task}: the disk has not responded for START_TIMEOUT={limit}"
    line = note("disk.overdue", "error", disk=event.disk, reason=reason, hint=_HINTS[event.disk])
    state = replace(state, overdue={**others, event.disk: reason})
    if event.disk is not Disk.STATE:
        return state, [line]
    late = [
        replace(reply, text=f"{reply.text}; {job_moves.UNSAVED}") for reply in state.pending_replies
    ]
    return replace(state, pending_replies=(), is_saved=False), [line, *late]


def warn_before_deadline(state: State, now: float) -> Decision:
    """
    Log that the deadline is near, once for each duration in WARN_AT.
    """
    if state.lifetime.is_ending or now < state.warn_at:
        return state, []
    remaining = state.lifetime.deadline - now
    due = deadline.next_warning(state.settings.warn_at, remaining)
    line = note(
        "deadline.near",
        "warning",
        remaining=round(remaining, 1),
        deadline=job_moves.shown(state.deadline_epoch),
        hint="run `autoexit-nginx extend 1h` to add an hour",
    )
    return replace(state, warns_before=due), [line] if remaining > 0 else []


def _move_deadline(state: State, request: DeadlineRequested, now: float) -> Decision:
    if state.lifetime.phase is not Phase.RUNNING or now >= state.lifetime.deadline:
        return _refused(state, request.ticket, "shutdown has begun")
    outcome = deadline.moved(
        state.record, state.lifetime.deadline, request, state.settings.max_ttl, now
    )
    if isinstance(outcome, str):
        return _refused(state, request.ticket, outcome)
    target = outcome.record.end
    if request.only_balancer or not state.settings.job_variable or target is None:
        suffix = "; only the balancer's" if request.only_balancer else ""
        return job_moves.move_alone(state, outcome, request.ticket, suffix, now)
    return job_moves.start_write(state, request.ticket, job_move.EXTEND, target, now)


def _stop(state: State, request: StopRequested, now: float) -> Decision:
    """Begin shutdown as at the deadline; a second request does not shorten it."""
    if state.lifetime.is_ending:
        left = format_span(max(0.0, state.lifetime.ladder.gone_at - now))
        text = f"already shutting down, exits within {left}"
        return state, [Reply(request.ticket, True, text)]
    asks_job = state.settings.job_variable and state.lifetime.phase is Phase.RUNNING
    if request.only_balancer or not asks_job:
        suffix = "; only the balancer's" if request.only_balancer else ""
        return job_moves.stop_alone(state, request.ticket, suffix, now)
    return job_moves.start_write(state, request.ticket, job_move.STOP, request.wall, now)


def _refused(state: State, ticket: int, why: str) -> Decision:
    text = f"cannot move the deadline: {why}; it is still {job_moves.shown(state.deadline_epoch)}"
    line = note("deadline.not_moved", "warning", reason=why)
    return state, [line, Reply(ticket, False, text)]
