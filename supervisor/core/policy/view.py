"""
What the world sees of the state: whether all is well, the pace of the looks, the status line.
"""

from dataclasses import replace

from supervisor.core.commands import Command, SetPollInterval, note
from supervisor.core.durations import format_instant
from supervisor.core.model import NEVER, Mode, View
from supervisor.core.nginx_master import MasterState
from supervisor.core.reload import Step
from supervisor.core.state import Decision, State

#: How often nginx is asked for its generation, in seconds: while a new one is awaited, while it is
#: silent, and at rest (a blackout is to be seen within 5 s, its confirmation included).
_BRISK = 0.01
_WORRIED = 0.1
_CALM = 3.5

#: The view is renewed at least this often while nginx answers: its age means something.
_FRESH = 1.0


def update_view(state: State, now: float) -> Decision:
    """
    Bring the pace of the looks and the view in step with the state.
    """
    commands: list[Command] = []
    poll_interval, view = _pace(state), _view(state, now)
    if poll_interval != state.poll_interval:
        commands.append(SetPollInterval(poll_interval))
    if (
        replace(view, at=state.view.at) == state.view
        and state.generation_seen_at < state.view.at + _FRESH
    ):
        view = state.view
    return replace(state, poll_interval=poll_interval, view=view), commands


def status_line(state: State, now: float) -> Command:
    """
    Say everything in one line.
    """
    remaining = state.lifetime.deadline - now
    silences = [source.failing_since for source in state.endpoint_set.sources.values()]
    silent_since = min((since for since in silences if since is not None), default=None)
    return note(
        "status",
        phase=state.lifetime.phase,
        nginx=state.master.health,
        pid=state.master.pid,
        step=state.rollout.step,
        endpoints=state.view.endpoints,
        mode=state.view.mode,
        generation=state.view.generation,
        unanswered_for=None if silent_since is None else round(now - silent_since, 1),
        deadline=None if state.deadline_epoch is None else format_instant(state.deadline_epoch),
        remaining=None if remaining == NEVER else round(remaining, 1),
    )


def _pace(state: State) -> float:
    if state.lifetime.is_ending or state.master.health is MasterState.DOWN:
        return 0.0
    if state.master.health is MasterState.BOOTING or state.rollout.step is Step.LOOKING:
        return _BRISK
    return _CALM if state.rollout.unresponsive_since == NEVER else _WORRIED


def _view(state: State, now: float) -> View:
    live = state.rollout.live
    roll = state.rollout
    dark = roll.unresponsive_since < NEVER or (roll.revives and roll.step is not Step.IDLE)
    answers = state.master.health is MasterState.UP and not dark
    healthy = answers and live is not None
    serving = live is not None and live.plan.mode is Mode.SERVE
    serving = serving and not state.in_lame_duck and not state.lifetime.is_ending
    return View(
        at=now,
        healthy=healthy,
        ready=healthy and serving,
        phase=state.lifetime.phase,
        mode=live.plan.mode if live else Mode.STARTING,
        endpoints=len(live.plan.endpoints) if live else 0,
        generation=live.generation if live else "",
    )
