"""
Rules for shutdown: drain, then SIGTERM and SIGKILL, then exit with code 0.

No event during shutdown changes the exit code: the exit of nginx is expected, and a child that was
requested before shutdown but starts during it is signalled at once.
"""

import signal
from dataclasses import replace

from supervisor.core import lifecycle, nginx_master
from supervisor.core.commands import (
    Command,
    CountConnections,
    CountLostRequests,
    Kill,
    QuitOrphans,
    exit_command,
    note,
)
from supervisor.core.durations import format_span
from supervisor.core.errors import ExitCode
from supervisor.core.events import (
    ChildExited,
    ConnectionsCounted,
    OrphansFound,
    SignalArrived,
    Spawned,
    SystemEvent,
)
from supervisor.core.lifecycle import Lifetime, Phase
from supervisor.core.model import NEVER, ChildKind
from supervisor.core.signal_sets import STOP_SIGNALS
from supervisor.core.state import Decision, State

#: Nomad's kill_timeout if the job sets none, in seconds.
_DEFAULT_KILL_TIMEOUT = 5.0
_KILL_TIMEOUT_HINT = (
    "without a longer `kill_timeout` (Docker: `docker stop --timeout`) the process is killed before"
    " and the exit code is 137"
)

#: Exit codes from here on mean death by a signal.
_BY_SIGNAL = 128


def start_shutdown(state: State, life: Lifetime) -> Decision:
    """
    Begin shutdown: SIGQUIT makes nginx finish open requests and accept no more.
    """
    commands: list[Command] = []
    if state.master.pid:
        commands.append(Kill(state.master.pid, signal.SIGQUIT))
        live = state.rollout.live
        commands.append(CountLostRequests(len(live.plan.endpoints) if live else 0))
    if state.rollout.check:
        commands.append(Kill(state.rollout.check, signal.SIGKILL, group=True))
    within = format_span(max(0.0, life.ladder.gone_at - life.ladder.began_at))
    is_long = life.ladder.stops and state.settings.stop_timeout >= _DEFAULT_KILL_TIMEOUT
    hint = _KILL_TIMEOUT_HINT if is_long else None
    commands.append(note("draining", reason=life.ladder.reason, within=within, hint=hint))
    return replace(state, lifetime=life), commands


def on_event_while_draining(state: State, event: SystemEvent, now: float) -> Decision:
    """
    Handle an event during shutdown.
    """
    if isinstance(event, ChildExited):
        lost = max(state.lifetime.lost, event.lost)
        state = replace(state, lifetime=replace(state.lifetime, lost=lost))
    match event:
        case SignalArrived(signum) if signum in STOP_SIGNALS:
            life = lifecycle.stop_requested(state.lifetime, state.settings.stop_timeout, now)
            return replace(state, lifetime=life), [note("stop.escalated", stops=life.ladder.stops)]
        case Spawned(ChildKind.MASTER, pid):
            booting = nginx_master.spawned(state.master, pid, now, state.settings.start_timeout)
            return replace(state, master=booting), [Kill(pid, signal.SIGQUIT)]
        case Spawned(_, pid):
            return state, [Kill(pid, signal.SIGKILL, group=True)]
        case ChildExited(pid=pid, code=code) if pid == state.master.pid:
            down = replace(nginx_master.exited(state.master, now), respawn_at=NEVER)
            if state.lifetime.phase is Phase.DRAINING and code >= _BY_SIGNAL:
                # Killed by another process: its workers may still drain.
                return replace(state, master=replace(down, seeking_orphans=True)), [
                    QuitOrphans(pid)
                ]
            return replace(state, master=down), [Kill(pid, signal.SIGKILL, group=True)]
        case ChildExited(pid=pid):
            return replace(state, master=nginx_master.orphan_exited(state.master, pid)), []
        case OrphansFound(pids):
            return replace(state, master=nginx_master.orphans_found(state.master, pids)), []
        case ConnectionsCounted(count):
            return replace(state, lifetime=replace(state.lifetime, cut=count)), []
        case _:
            return state, []  # no effect during shutdown


def advance(state: State, now: float) -> Decision:
    """
    Escalate from SIGQUIT over SIGTERM to SIGKILL as due, and exit once no process is left.
    """
    life, commands = state.lifetime, list[Command]()
    if not life.is_ending:
        return state, []
    left = [state.master.pid] if state.master.pid else []
    left += sorted(state.master.orphans)
    if not left and not state.master.seeking_orphans:
        return _exit(state, life, now)
    if life.phase is Phase.DRAINING and now >= life.ladder.term_at:
        life = lifecycle.enter(life, Phase.TERMINATING)
        commands += [CountConnections(), *(Kill(pid, signal.SIGTERM) for pid in left)]
        commands.append(note("drain.cut_short", "warning", processes=len(left)))
    if life.phase is Phase.TERMINATING and now >= life.ladder.kill_at:
        life = lifecycle.enter(life, Phase.KILLING)
        commands += [Kill(pid, signal.SIGKILL, group=pid == state.master.pid) for pid in left]
        commands.append(note("drain.killed", "warning", processes=len(left)))
    if life.phase is Phase.KILLING and now >= life.ladder.gone_at:
        state, more = _exit(state, life, now, still_running=len(left))
        return state, [*commands, *more]
    return replace(state, lifetime=life), commands


def _exit(state: State, life: Lifetime, now: float, **fields: float) -> Decision:
    duration = round(now - life.ladder.began_at, 3)
    ended = replace(state, lifetime=lifecycle.enter(life, Phase.ENDED))
    if life.lost:
        fields["cut_by_replicas"] = life.lost
    if state.job_stop.tries:
        fields["ended_alone"] = life.ladder.began_at >= state.job_stop.give_up_at
    fields = {"drained_in": duration, "connections_cut": life.cut + life.lost, **fields}
    return ended, [exit_command(ExitCode.OK, life.ladder.reason, **fields)]
