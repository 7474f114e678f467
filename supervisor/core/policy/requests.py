"""
The rules of wishes: what people ask for on the socket, and the warnings that make them ask.

Each wish is answered, by what became of it or by the reason why nothing did.  A deadline that was
moved is answered once it is on disk, or once it is known that it cannot be put there.
"""

from dataclasses import replace
from typing import assert_never

from supervisor.core import deadline, lifecycle
from supervisor.core.commands import Command, Reply, SaveState, note
from supervisor.core.durations import format_instant, format_span
from supervisor.core.events import AdminRequest, DeadlineRequested, StateSaved, StopRequested
from supervisor.core.lifecycle import Phase
from supervisor.core.policy import endpoints, shutdown
from supervisor.core.state import Decision, State

_UNSAVED = "after a restart it will not count"


def handle_request(state: State, wish: AdminRequest, now: float) -> Decision:
    """
    Grant a wish, or say why not.
    """
    match wish:
        case DeadlineRequested():
            return _move(state, wish, now)
        case StopRequested(ticket):
            return _stop(state, ticket, now)
        case _:
            assert_never(wish)


def on_state_saved(state: State, event: StateSaved) -> Decision:
    """
    Answer those whose deadline is on disk, or cannot be put there.
    """
    state = replace(state, is_saved=not event.error)
    commands: list[Command] = []
    if event.error:
        hint = "the deadline will count anew after a restart"
        commands.append(note("state.not_saved", "warning", reason=event.error, hint=hint))
    if event.record != state.record:  # of an earlier one
        return state, commands
    for reply in state.pending_replies:
        text = f"{reply.text}; {_UNSAVED}: {event.error}" if event.error else reply.text
        commands.append(replace(reply, text=text))
    return replace(state, pending_replies=()), commands


def warn_before_deadline(state: State, now: float) -> Decision:
    """
    Say that the deadline is near, once for each span in WARN_AT.
    """
    if state.lifetime.is_ending or now < state.warn_at:
        return state, []
    remaining = state.lifetime.deadline - now
    due = deadline.next_warning(state.settings.warn_at, remaining)
    line = note(
        "deadline.near",
        "warning",
        remaining=round(remaining, 1),
        deadline=_told(state.deadline_epoch),
        hint="`autoexit-nginx extend 1h` gives it one hour more",
    )
    return replace(state, warns_before=due), [line] if remaining > 0 else []


def _move(state: State, wish: DeadlineRequested, now: float) -> Decision:
    old = state.deadline_epoch
    if state.lifetime.phase is not Phase.RUNNING or now >= state.lifetime.deadline:
        return _refused(state, wish.ticket, "the end has begun")
    outcome = deadline.moved(
        state.record, state.lifetime.deadline, wish, state.settings.max_ttl, now
    )
    if isinstance(outcome, str):
        return _refused(state, wish.ticket, outcome)
    new, remaining = outcome.record.end, outcome.deadline - now
    left = format_span(round(remaining))
    text = f"the deadline is {_told(new)} now, in {left}; it was {_told(old)}"
    state = replace(
        state,
        record=outcome.record,
        lifetime=replace(state.lifetime, deadline=outcome.deadline),
        warns_before=deadline.next_warning(state.settings.warn_at, remaining),
        in_lame_duck=False,
        pending_replies=(*state.pending_replies, Reply(wish.ticket, True, text)),
    )
    line = note("deadline.moved", was=_told(old), deadline=_told(new), remaining=round(remaining))
    return endpoints.offer_plan(state, now, [SaveState(outcome.record), line])


def _stop(state: State, ticket: int, now: float) -> Decision:
    """Begin the end as the deadline would; who asks twice does not hasten it."""
    if state.lifetime.is_ending:
        left = format_span(max(0.0, state.lifetime.ladder.gone_at - now))
        return state, [Reply(ticket, True, f"it is ending already, within {left}")]
    total = state.settings.drain_timeout
    state, commands = shutdown.start_shutdown(
        state, lifecycle.drain(state.lifetime, "asked to stop", total, now)
    )
    text = f"ending: what is open has {format_span(total)}"
    return state, [*commands, Reply(ticket, True, text)]


def _refused(state: State, ticket: int, why: str) -> Decision:
    text = f"cannot move the deadline: {why}; it stays {_told(state.deadline_epoch)}"
    line = note("deadline.not_moved", "warning", reason=why)
    return state, [line, Reply(ticket, False, text)]


def _told(epoch: float | None) -> str:
    return "never" if epoch is None else format_instant(epoch)
