"""
Rules for the steps of a reload attempt, where rollout and master interact.

Before nginx has answered once, any failure ends the program; after that, a failure leaves the live
configuration unchanged.
"""

import signal
from dataclasses import replace
from typing import assert_never

from supervisor.core import nginx_master, reload, reload_attempt, worker_generations
from supervisor.core.commands import Command, Kill, Restore, SpawnMaster, exit_command, note
from supervisor.core.durations import format_span
from supervisor.core.errors import ExitCode
from supervisor.core.events import Staged, StageFailed, SwapFailed, Swapped
from supervisor.core.model import NEVER
from supervisor.core.nginx_master import MasterState
from supervisor.core.reload import Step
from supervisor.core.state import Decision, State


def on_files(
    state: State, event: Staged | StageFailed | Swapped | SwapFailed, now: float
) -> Decision:
    """
    Handle a result of the file writer.
    """
    roll, settings = state.rollout, state.settings
    awaited = Step.STAGING if isinstance(event, Staged | StageFailed) else Step.SWAPPING
    if (
        roll.step is not awaited
        or roll.candidate is None
        or event.attempt != roll.candidate.attempt
    ):
        return state, []  # from an abandoned attempt
    match event:
        case Staged():
            return with_rollout(
                state, reload_attempt.staged(roll, event, settings.start_timeout, now)
            )
        case SwapFailed(_, reason) if (
            roll.live is not None and state.master.health is MasterState.DOWN
        ):
            # Start nginx anyway: the live files may be intact, and without nginx nothing serves.
            state, commands = _swapped(state, now)
            return state, [note("config.not_restored", "error", reason=reason), *commands]
        case StageFailed(_, reason) | SwapFailed(_, reason):
            return failed(state, ExitCode.CONFIG, reason, now)
        case Swapped():
            return _swapped(state, now)
        case _:
            assert_never(event)


def _swapped(state: State, now: float) -> Decision:
    files_only, revives = state.rollout.files_only, state.rollout.revives
    after = reload_attempt.swapped(state.rollout, now, state.settings.verify_timeout)
    if state.master.health is MasterState.DOWN:
        # `boot_by` limits a start; the time limit of a reload would be too short for it.
        return replace(state, rollout=replace(after, give_up_at=NEVER)), [SpawnMaster()]
    state = replace(state, rollout=after)
    if files_only:
        return state, [note("config.restored", "warning")]
    if state.rollout.restarts:
        return state, [Kill(state.master.pid, signal.SIGTERM)]  # its exit starts the next one
    resume: list[Command] = [Kill(state.master.pid, signal.SIGCONT)] if revives else []
    return state, [*resume, Kill(state.master.pid, signal.SIGHUP)]


def on_generation(state: State, generation: str | None, now: float) -> Decision:
    """
    Handle the generation that nginx reports, None when it did not respond.
    """
    commands: list[Command] = []
    candidate, live = state.rollout.candidate, state.rollout.live
    awaited = (
        state.rollout.step is Step.LOOKING
        and candidate is not None
        and generation == candidate.generation
    )
    if generation is not None:
        state = replace(state, generation_seen_at=now)
        if state.master.health is MasterState.BOOTING and (awaited or live is not None):
            duration = round(now - state.started_at, 3) if live is None else None
            state = replace(state, master=nginx_master.answered(state.master))
            commands.append(note("nginx.ready", pid=state.master.pid, since_start=duration))
    if awaited:
        state = replace(state, generations=worker_generations.succeeded(state.generations))
        state, more = with_rollout(state, reload_attempt.promote(state.rollout, now))
        return state, [*commands, *more]
    if state.master.health is MasterState.UP:
        state = replace(state, rollout=reload.observed(state.rollout, generation, now))
    return state, commands


def failed(state: State, code: ExitCode, reason: str, now: float) -> Decision:
    """
    End a failed attempt: the first one exits with `code`, a later one keeps the live configuration.
    """
    if state.rollout.live is None:
        return state, [exit_command(code, "cannot apply the first configuration", message=reason)]
    return with_rollout(state, reload_attempt.fail(state.rollout, reason, now))


def give_up(state: State, now: float) -> Decision:
    """
    End a step that exceeded its time limit: `nginx -t`, or waiting for a generation to answer.
    """
    roll, live, settings = state.rollout, state.rollout.live, state.settings
    if roll.step is Step.CHECKING:
        reason = f"nginx -t did not exit within {format_span(settings.start_timeout)}"
        stuck = [Kill(roll.check, signal.SIGKILL, group=True)] if roll.check else []
        state, commands = failed(state, ExitCode.UNAVAILABLE, reason, now)
        return state, [*stuck, *commands]
    if roll.revives:
        why = "nginx does not respond even after rolling back"
        state = replace(
            state,
            master=replace(state.master, give_up_reason=why),
            rollout=reload_attempt.abandon(roll),
        )
        line = note("nginx.replaced", "error", reason=why)
        return state, [line, Kill(state.master.pid, signal.SIGKILL, group=True)]
    assert live is not None  # a first start is limited by `boot_by` instead
    # Restore precedes Discard: until then the failed attempt is the live directory.
    reason = f"the new generation did not respond within {format_span(settings.verify_timeout)}"
    state, commands = with_rollout(state, reload_attempt.fail(roll, reason, now))
    if roll.seen is None:
        state, more = with_rollout(state, reload_attempt.revive(state.rollout, now))
        return state, [*more, *commands]
    # A stopped master reloads the restored files after SIGCONT.
    return state, [Restore(live), Kill(state.master.pid, signal.SIGCONT), *commands]


def with_rollout(state: State, outcome: reload_attempt.Outcome) -> Decision:
    """
    Store the outcome of a rollout function in the state.
    """
    after, commands = outcome
    return replace(state, rollout=after), commands
