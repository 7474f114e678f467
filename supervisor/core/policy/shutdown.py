"""
The end: drain, then the ladder, then leave with code 0.

Whatever happens once the end has begun, it ends well: nginx dying is what was wanted, and a child
that was ordered before the end but starts after it is told to go at once.
"""

import signal
from dataclasses import replace

from supervisor.core import lifecycle, nginx_master
from supervisor.core.commands import (
    Command,
    CountConnections,
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

#: From here on an exit code tells of a death by signal.
_BY_SIGNAL = 128


def start_shutdown(state: State, life: Lifetime) -> Decision:
    """
    Begin the end: tell nginx to finish what is open and to take no more.
    """
    commands: list[Command] = []
    if state.master.pid:
        commands.append(Kill(state.master.pid, signal.SIGQUIT))
    if state.rollout.check:
        commands.append(Kill(state.rollout.check, signal.SIGKILL, group=True))
    within = format_span(max(0.0, life.ladder.gone_at - life.ladder.began_at))
    commands.append(note("draining", reason=life.ladder.reason, within=within))
    return replace(state, lifetime=life), commands


def on_event_while_draining(state: State, event: SystemEvent, now: float) -> Decision:
    """
    Take in an event after the end has begun.
    """
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
                # Killed by someone else: its workers may still drain.
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
            return state, []  # too late to matter


def advance(state: State, now: float) -> Decision:
    """
    Climb from QUIT over TERM to KILL as far as the clock is, and leave when nothing is left.
    """
    life, commands = state.lifetime, list[Command]()
    if not life.is_ending:
        return state, []
    left = [state.master.pid] if state.master.pid else []
    left += sorted(state.master.orphans)
    if not left and not state.master.seeking_orphans:
        return _leave(state, life, now)
    if life.phase is Phase.DRAINING and now >= life.ladder.term_at:
        life = lifecycle.enter(life, Phase.TERMINATING)
        commands += [CountConnections(), *(Kill(pid, signal.SIGTERM) for pid in left)]
        commands.append(note("drain.cut_short", "warning", processes=len(left)))
    if life.phase is Phase.TERMINATING and now >= life.ladder.kill_at:
        life = lifecycle.enter(life, Phase.KILLING)
        commands += [Kill(pid, signal.SIGKILL, group=pid == state.master.pid) for pid in left]
        commands.append(note("drain.killed", "warning", processes=len(left)))
    if life.phase is Phase.KILLING and now >= life.ladder.gone_at:
        state, more = _leave(state, life, now, still_running=len(left))
        return state, [*commands, *more]
    return replace(state, lifetime=life), commands


def _leave(state: State, life: Lifetime, now: float, **also: int) -> Decision:
    duration = round(now - life.ladder.began_at, 3)
    ended = replace(state, lifetime=lifecycle.enter(life, Phase.ENDED))
    if state.job_stop.tries:
        also["ended_alone"] = life.ladder.began_at >= state.job_stop.give_up_at
    return ended, [
        exit_command(
            ExitCode.OK, life.ladder.reason, drained_in=duration, connections_cut=life.cut, **also
        )
    ]
