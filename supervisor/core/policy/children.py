"""
Rules for child processes: nginx's master, `nginx -t`, and the orphaned workers of a dead master.
"""

import signal
from dataclasses import replace
from typing import assert_never

from supervisor.core import log_ids, nginx_master, reload_attempt
from supervisor.core.commands import (
    Command,
    Kill,
    QuitOrphans,
    SpawnMaster,
    exit_command,
    note,
)
from supervisor.core.durations import format_span
from supervisor.core.errors import ExitCode
from supervisor.core.events import ChildExited, OrphansFound, PortBusy, Spawned, SpawnFailed
from supervisor.core.model import NEVER, ChildKind
from supervisor.core.nginx_master import MasterState
from supervisor.core.policy import reload_steps
from supervisor.core.reload import Step
from supervisor.core.state import Decision, State
from supervisor.core.worker_generations import Generations


def on_child_event(
    state: State, event: Spawned | SpawnFailed | PortBusy | ChildExited | OrphansFound, now: float
) -> Decision:
    """
    Handle the start, the delayed or failed start, or the exit of a child.
    """
    match event:
        case Spawned(ChildKind.CHECK, pid):
            if state.rollout.step is not Step.CHECKING:
                return state, [Kill(pid, signal.SIGKILL, group=True)]
            return replace(state, rollout=replace(state.rollout, check=pid)), []
        case Spawned(_, pid):
            booting = nginx_master.spawned(state.master, pid, now, state.settings.start_timeout)
            return replace(state, master=booting), [note("nginx.started", pid=pid)]
        case PortBusy(address):
            return _on_port_busy(state, address, now)
        case SpawnFailed():
            return _on_spawn_failed(state, event, now)
        case ChildExited(pid, ChildKind.CHECK) if pid == state.rollout.check:
            if event.code == 0:
                return reload_steps.with_rollout(state, reload_attempt.checked(state.rollout))
            reason = event.output or f"nginx -t exited with code {event.code}"
            return reload_steps.failed(state, ExitCode.CONFIG, reason, now)
        case ChildExited(pid, ChildKind.MASTER) if pid == state.master.pid and _ends_for_restart(
            state
        ):
            down = nginx_master.ended_for_restart(state.master)
            # `boot_by` limits the start.
            roll = replace(state.rollout, give_up_at=NEVER)
            old = Generations(state.generations.max_draining)
            return replace(state, master=down, rollout=roll, generations=old), [SpawnMaster()]
        case ChildExited(pid, ChildKind.MASTER) if pid == state.master.pid:
            return _on_master_exit(state, event, now)
        case ChildExited(pid=pid):
            return replace(state, master=nginx_master.orphan_exited(state.master, pid)), []
        case OrphansFound(pids):
            line = note("nginx.orphans_quit", workers=len(pids))
            return replace(state, master=nginx_master.orphans_found(state.master, pids)), [line]
        case _:
            assert_never(event)


def _ends_for_restart(state: State) -> bool:
    """Whether the master was signalled to exit so that another one starts with the new files."""
    roll = state.rollout
    return roll.restarts and roll.step is Step.LOOKING and state.master.health is MasterState.UP


def spawn_when_free(state: State, now: float) -> Decision:
    """
    Start nginx if the port is free by now; at the end of the wait nginx itself tries.
    """
    is_last = now >= state.master.busy_until
    master = replace(state.master, look_again_at=NEVER)
    return replace(state, master=master), [SpawnMaster(even_if_busy=is_last)]


def _on_port_busy(state: State, address: str, now: float) -> Decision:
    is_first = state.master.busy_until == NEVER
    waiting = nginx_master.port_busy(state.master, now, state.settings.start_timeout)
    limit = format_span(waiting.busy_until - now)
    hint = (
        "stop the process that listens there (`ss -ltnp` lists it), or set another LISTEN_PORT;"
        f" starting nginx once it is free, or in {limit}"
    )
    line = note("nginx.port_busy", "warning", address=address, hint=hint)
    return replace(state, master=waiting), [line] if is_first else []


def _on_spawn_failed(state: State, event: SpawnFailed, now: float) -> Decision:
    why = "cannot start nginx"
    if not state.master.ever_answered:
        fields = reload_steps.explained(event.reason, state.settings)
        return state, [exit_command(event.code, why, **fields)]
    if event.kind is ChildKind.CHECK:
        return reload_steps.failed(state, ExitCode.UNAVAILABLE, event.reason, now)
    down = nginx_master.exited(state.master, now)
    line = note("nginx.not_started", "error", reason=event.reason, failures=len(down.crashes))
    if nginx_master.is_crash_looping(down):
        fields = reload_steps.explained(event.reason, state.settings)
        return state, [line, exit_command(event.code, why, **fields)]
    return replace(state, master=down, rollout=reload_attempt.abandon(state.rollout)), [line]


def _on_master_exit(state: State, event: ChildExited, now: float) -> Decision:
    given_up, pid = state.master.give_up_reason, event.pid
    kill_group = Kill(pid, signal.SIGKILL, group=True)
    if not state.master.ever_answered:
        why = given_up or f"nginx exited with code {event.code} before it was ready"
        fields = reload_steps.explained(event.output, state.settings)
        return state, [kill_group, exit_command(ExitCode.UNAVAILABLE, why, **fields)]
    down = nginx_master.exited(state.master, now)
    state = replace(state, generations=Generations(state.generations.max_draining))
    commands: list[Command] = [
        note(
            log_ids.NGINX_DIED,
            "error",
            code=event.code,
            deaths=len(down.crashes),
            message=event.output or None,
        )
    ]
    # Orphans may hold the port that this master needed; they have already received SIGQUIT.
    if state.master.health is MasterState.BOOTING or nginx_master.is_crash_looping(down):
        commands += [Kill(orphan, signal.SIGKILL) for orphan in sorted(down.orphans)]
    if nginx_master.is_crash_looping(down):
        code = ExitCode.UNAVAILABLE if given_up else event.code or ExitCode.SOFTWARE
        why = (
            given_up
            or f"nginx exited {len(down.crashes)} times within {format_span(nginx_master.WINDOW)}"
        )
        fields = reload_steps.explained(event.output, state.settings)
        return state, [*commands, kill_group, exit_command(code, why, **fields)]
    commands.append(kill_group if given_up else QuitOrphans(pid))
    down = replace(down, seeking_orphans=not given_up)
    return replace(state, master=down, rollout=reload_attempt.abandon(state.rollout)), commands
