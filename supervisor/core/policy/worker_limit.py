"""
The rules of room: how the old generations of workers meet a reload that is due.

Before each reload the workers are counted; the answer decides whether it begins, waits, or has the
oldest generation told to go first.  A first start needs no room but its own.
"""

import signal
from dataclasses import replace
from typing import assert_never

from supervisor.core import log_ids, reload, reload_attempt, worker_generations
from supervisor.core.commands import CountWorkers, EndWorkers, Order, note
from supervisor.core.events import WorkersCounted, WorkersEnded
from supervisor.core.policy import reload_steps
from supervisor.core.state import Decision, State
from supervisor.core.worker_generations import Verdict


def begin(state: State, now: float) -> Decision:
    """
    Begin the attempt that is due, or first have the workers counted.
    """
    if state.rollout.live is None:
        return reload_steps.rolled(state, reload_attempt.begin(state.rollout, now))
    counting = worker_generations.counting(state.generations)
    return replace(state, generations=counting), [CountWorkers(state.master.pid)]


def react(state: State, event: WorkersCounted | WorkersEnded, now: float) -> Decision:
    """
    Take in which workers there are, or who was told to go.
    """
    match event:
        case WorkersEnded(workers, cut):
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
    why = worker_generations.shortage(old, event.room, event.needed)
    verdict = worker_generations.verdict(old, why, is_pressing=reload.is_pressing(state.rollout))
    orders: list[Order] = []
    if why and not old.why:
        orders.append(note("reload.deferred", "warning", reason=why, keeping=_kept(state)))
    match verdict:
        case Verdict.GO:
            state = replace(state, generations=worker_generations.going(old))
            return reload_steps.rolled(state, reload_attempt.begin(state.rollout, now))
        case Verdict.WAIT:
            return replace(
                state, generations=worker_generations.holding(old, plan, why, now)
            ), orders
        case Verdict.MAKE_ROOM:
            oldest = old.draining[0]
            # Who is told for the second time did not listen the first time.
            signum = signal.SIGKILL if oldest & old.told else signal.SIGTERM
            orders.append(EndWorkers(oldest, signum))
            return replace(
                state, generations=worker_generations.making_room(old, plan, why, now)
            ), orders
        case _:
            assert_never(verdict)


def _kept(state: State) -> int:
    live = state.rollout.live
    return 0 if live is None else len(live.plan.endpoints)
