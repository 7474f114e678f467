"""
Rules for the worker limit: whether old generations of workers allow a reload that is due.

Workers are counted before each reload; the count decides whether the reload begins, waits, first
ends the oldest generation, or becomes a restart of nginx.  A first start has no old workers and is
not checked.
"""

import signal
from dataclasses import replace
from typing import assert_never

from supervisor.core import (
    endpoint_set,
    log_ids,
    nginx_master,
    reload,
    reload_attempt,
    worker_generations,
)
from supervisor.core.commands import Command, CountWorkers, SignalWorkers, note
from supervisor.core.events import WorkersCounted, WorkersSignalled
from supervisor.core.policy import reload_steps
from supervisor.core.state import Decision, State
from supervisor.core.worker_generations import ReloadDecision

#: The processes that a restart needs besides those that it ends: `nginx -t` runs before it.
_CHECK_SLOTS = 1


def start_reload(state: State, now: float) -> Decision:
    """
    Begin the attempt that is due; unless it is the first start, count the workers before.
    """
    if state.rollout.live is None:
        roll, stage = reload_attempt.start(
            state.rollout, now, give_up_at=reload_steps.disk_limit(state, now)
        )
        return replace(state, rollout=roll), stage
    counting = worker_generations.counting(state.generations)
    return replace(state, generations=counting), [CountWorkers(state.master.pid)]


def on_worker_event(state: State, event: WorkersCounted | WorkersSignalled, now: float) -> Decision:
    """
    Handle the count of workers, or the result of signalling some.
    """
    match event:
        case WorkersSignalled(workers, cut):
            return state, [note(log_ids.GENERATION_ENDED, "warning", workers=workers, cut=cut)]
        case WorkersCounted():
            counted = worker_generations.counted(state.generations, event.pids)
            state = replace(state, generations=counted)
            return _decide(state, event, now) if now >= state.rollout_at else (state, [])
        case _:
            assert_never(event)


def _decide(state: State, event: WorkersCounted, now: float) -> Decision:
    """Begin the reload if it fits; otherwise wait, or end the oldest generation."""
    old, plan = state.generations, state.rollout.target
    assert plan is not None
    why = worker_generations.shortage(old, event.free_slots, event.needed)
    if why and state.rollout.expected is not None:
        # Nothing is ended or held for a plan that may not come.
        return replace(state, rollout=reload.expect(state.rollout, None)), []
    verdict = worker_generations.decide(
        old,
        why,
        is_urgent=reload.is_urgent(state.rollout),
        may_restart=event.free_slots >= _CHECK_SLOTS and _may_restart(state, now),
    )
    commands: list[Command] = []
    if why and not old.why and verdict is not ReloadDecision.RESTART:
        commands.append(note("reload.deferred", "warning", reason=why, endpoints_kept=_kept(state)))
    match verdict:
        case ReloadDecision.GO:
            state = replace(state, generations=worker_generations.fits(old))
            return reload_steps.with_rollout(state, reload_attempt.start(state.rollout, now))
        case ReloadDecision.RESTART:
            state = replace(state, generations=worker_generations.fits(old))
            line = note("nginx.restarting", "warning", reason=why, hint="nothing is served now")
            roll, more = reload_attempt.start(state.rollout, now, restarts=True)
            return replace(state, rollout=roll), [line, *more]
        case ReloadDecision.WAIT:
            return replace(
                state, generations=worker_generations.hold(old, plan, why, now)
            ), commands
        case ReloadDecision.END_OLDEST:
            oldest = old.draining[0]
            # Workers that are still running after SIGTERM receive SIGKILL.
            signum = signal.SIGKILL if oldest & old.signalled else signal.SIGTERM
            commands.append(SignalWorkers(oldest, signum))
            return replace(
                state, generations=worker_generations.ending_oldest(old, plan, why, now)
            ), commands
        case _:
            assert_never(verdict)


def _may_restart(state: State, now: float) -> bool:
    """Whether there is something to serve, nothing is served, and no master has died lately."""
    plan, live = state.rollout.wanted, state.rollout.live
    if plan is None or live is None or not plan.endpoints:
        return False
    is_serving = endpoint_set.may_answer(state.endpoint_set, live.plan.endpoints)
    return not is_serving and not nginx_master.died_lately(state.master, now)


def _kept(state: State) -> int:
    live = state.rollout.live
    return 0 if live is None else len(live.plan.endpoints)
