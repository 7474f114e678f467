"""
Rules for the steps of a reload attempt, where rollout and master interact.

Before nginx has answered once, any failure ends the program; after that, a failure leaves the live
configuration unchanged.
"""

import signal
from dataclasses import replace
from typing import assert_never

from supervisor.core import (
    nginx_advice,
    nginx_master,
    reload,
    reload_attempt,
    worker_generations,
)
from supervisor.core.commands import (
    CheckFiles,
    Command,
    Kill,
    RememberWorkers,
    Restore,
    SpawnMaster,
    exit_command,
    note,
)
from supervisor.core.config.settings import Settings
from supervisor.core.durations import format_span
from supervisor.core.errors import ExitCode
from supervisor.core.events import (
    FilesChecked,
    GenerationReported,
    Staged,
    StageFailed,
    SwapFailed,
    Swapped,
)
from supervisor.core.model import NEVER
from supervisor.core.nginx_master import MasterState
from supervisor.core.reload import Step
from supervisor.core.state import Decision, State

#: Seconds between two checks of the files in RUNTIME_DIR: shorter than the poll of an idle nginx.
_CHECK_INTERVAL = 3.0

_FILES_HINT = "give that server another port, or put its directives into server.d"


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
            notes = [
                note("config.warning", "warning", reason=warning, hint=_FILES_HINT)
                for warning in event.warnings
                if warning not in state.file_warnings
            ]
            state, commands = with_rollout(
                replace(state, file_warnings=event.warnings),
                reload_attempt.staged(roll, event, settings.start_timeout, now),
            )
            return state, [*notes, *commands]
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
    hup = Kill(state.master.pid, signal.SIGHUP)
    if revives:
        return state, [Kill(state.master.pid, signal.SIGCONT), hup]
    if not _quits_old(state.rollout):
        return state, [hup]
    state = replace(state, rollout=replace(state.rollout, quits_old=True))
    return state, [RememberWorkers(state.master.pid), hup]


def _quits_old(roll: reload.Rollout) -> bool:
    """
    Whether old workers may stop accepting once a new one answers: all share one accept queue.

    nginx's master lets them go on for 100 ms, in which they answer for endpoints that are gone.
    """
    return not any(config.reuseport for config in (roll.live, roll.candidate) if config)


def on_generation(state: State, event: GenerationReported, now: float) -> Decision:
    """
    Handle the generation that nginx reports, None when it did not respond.
    """
    commands: list[Command] = []
    generation = event.generation
    candidate, live = state.rollout.candidate, state.rollout.live
    awaited = (
        state.rollout.step is Step.LOOKING
        and candidate is not None
        and generation == candidate.generation
    )
    if generation is not None or event.public_port_answers:
        state = replace(state, generation_seen_at=now)
    boots = state.master.health is MasterState.BOOTING and (awaited or live is not None)
    if generation is not None and boots:
        duration = round(now - state.started_at, 3) if live is None else None
        state = replace(state, master=nginx_master.answered(state.master))
        port = state.settings.listen_port
        commands.append(note("nginx.ready", pid=state.master.pid, port=port, since_start=duration))
    if awaited:
        state = replace(state, generations=worker_generations.succeeded(state.generations))
        state, more = with_rollout(state, reload_attempt.promote(state.rollout, now))
        return state, [*commands, *more]
    if state.master.health is MasterState.UP:
        rollout = reload.observed(
            state.rollout, generation, now, public_port_answers=event.public_port_answers
        )
        state = replace(state, rollout=rollout)
        if rollout.step is Step.IDLE and now >= state.files_checked_at + _CHECK_INTERVAL:
            state = replace(state, files_checked_at=now)
            commands.append(CheckFiles())
    return state, commands


def on_files_checked(state: State, event: FilesChecked) -> Decision:
    """
    Report what was removed from RUNTIME_DIR; nginx creates its sockets again with a reload.
    """
    commands: list[Command] = []
    if event.restored:
        commands.append(note("runtime.restored", "warning", files=list(event.restored)))
    if event.error and event.error != state.files_error:
        commands.append(note("runtime.not_restored", "error", reason=event.error))
    state = replace(state, files_error=event.error)
    roll = state.rollout
    if event.lost and not roll.relisten and state.master.health is MasterState.UP:
        hint = "clients are served; reloading nginx"
        commands.append(note("nginx.socket_lost", "warning", files=list(event.lost), hint=hint))
        state = replace(state, rollout=replace(roll, relisten=True))
    return state, commands


def failed(state: State, code: ExitCode, reason: str, now: float) -> Decision:
    """
    End a failed attempt: the first one exits with `code`, a later one keeps the live configuration.
    """
    if state.rollout.live is None:
        why, fields = "cannot apply the first configuration", explained(reason, state.settings)
        return state, [exit_command(code, why, **fields)]
    hint = nginx_advice.next_step(reason, state.settings)
    return with_rollout(state, reload_attempt.fail(state.rollout, reason, now, hint))


def explained(message: str, settings: Settings) -> dict[str, str]:
    """
    Return the fields of an exit: the reason that nginx gave, and what to do about it.
    """
    hint = nginx_advice.next_step(message, settings)
    return {"message": message, "hint": hint} if hint else {"message": message}


def disk_limit(state: State, now: float) -> float:
    """
    Return until when the file writer may take for a step, NEVER while nginx serves.

    Then nothing is gained by giving up: the disk is reported as overdue, and no other attempt could
    be written to it.
    """
    return NEVER if state.rollout.live else now + state.settings.start_timeout


def give_up(state: State, now: float) -> Decision:
    """
    End a step that exceeded its time limit: the disk, `nginx -t`, or waiting for a generation.
    """
    roll, live, settings = state.rollout, state.rollout.live, state.settings
    if roll.step in {Step.STAGING, Step.SWAPPING}:
        action = "stage" if roll.step is Step.STAGING else "swap in"
        within = format_span(settings.start_timeout)
        reason = f"cannot {action} the configuration: the disk did not respond within {within}"
        return failed(state, ExitCode.CONFIG, f"{reason}; giving up", now)
    if roll.step is Step.CHECKING:
        reason = f"nginx -t did not exit within {format_span(settings.start_timeout)}"
        stuck = [Kill(roll.check, signal.SIGKILL, group=True)] if roll.check else []
        state, commands = failed(state, ExitCode.UNAVAILABLE, reason, now)
        return state, [*stuck, *commands]
    if roll.revives and not roll.public_port_answers:
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
    if roll.seen is None and roll.public_port_answers:
        # Clients are served: try other sockets later, and leave the processes alone.
        state = replace(state, rollout=replace(state.rollout, relisten=True))
    elif roll.seen is None:
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
