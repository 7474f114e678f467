"""
The rules of room: how the old generations of workers meet a reload that is due.

Before each reload the workers are counted; the answer decides whether it begins, waits, or has the
oldest generation told to go first.  A first start needs no room but its own.
"""

import signal
from dataclasses import replace
from typing import assert_never

from supervisor.core import log_ids, reload, reload_attempt, worker_generations
from supervisor.core.commands import Command, CountWorkers, SignalWorkers, note
from supervisor.core.events import WorkersCounted, WorkersSignalled
from supervisor.core.policy import reload_steps
from supervisor.core.state import Decision, State
from supervisor.core.worker_generations import ReloadDecision


def start_reload(state: State, now: float) -> Decision:
    """
    Begin the attempt that is due, or first have the workers counted.
    """
    if state.rollout.live is None:
        return reload_steps.with_rollout(state, reload_attempt.start(state.rollout, now))
    counting = worker_generations.counting(state.generations)
    return replace(state, generations=counting), [CountWorkers(state.master.pid)]


def on_worker_event(state: State, event: WorkersCounted | WorkersSignalled, now: float) -> Decision:
    """
    Take in which workers there are, or who was told to go.
    """
    match event:
        case WorkersSignalled(workers, cut):
            return state, [note(log_ids.GENERATION_ENDED, "warning", workers=workers, cut=cut)]
        case WorkersCounted():
            counted = worker_generations.counted(state.generations, event.pids)
            state = replace(state, generations=counted)
            return _admitted(state, event, now) if now >= state.rollout_at else (state, [])
        case _:
            assert_never(event)


def _admitted(state: State, event: WorkersCounted, now: float) -> Decision:
    """Let the reload begin if it fits, or do what helps it."""
    old, plan = state.generations, state.rollout.wanted
    assert plan is not None
    why = worker_generations.shortage(old, event.free_slots, event.needed)
    verdict = worker_generations.decide(old, why, is_urgent=reload.is_urgent(state.rollout))
    commands: list[Command] = []
    if why and not old.why:
        commands.append(note("reload.deferred", "warning", reason=why, endpoints_kept=_kept(state)))
    match verdict:
        case ReloadDecision.GO:
            state = replace(state, generations=worker_generations.fits(old))
            return reload_steps.with_rollout(state, reload_attempt.start(state.rollout, now))
        case ReloadDecision.WAIT:
            return replace(
                state, generations=worker_generations.hold(old, plan, why, now)
            ), commands
        case ReloadDecision.END_OLDEST:
            oldest = old.draining[0]
            # Who is told for the second time did not listen the first time.
            signum = signal.SIGKILL if oldest & old.signalled else signal.SIGTERM
            commands.append(SignalWorkers(oldest, signum))
            return replace(
                state, generations=worker_generations.ending_oldest(old, plan, why, now)
            ), commands
        case _:
            assert_never(verdict)


def _kept(state: State) -> int:
    live = state.rollout.live
    return 0 if live is None else len(live.plan.endpoints)
