"""
Values derived from the state: the published view, the poll interval and the status line.
"""

from dataclasses import replace

from supervisor.core.commands import Command, SetPollInterval, note
from supervisor.core.durations import format_instant
from supervisor.core.model import NEVER, Mode, View
from supervisor.core.nginx_master import MasterState
from supervisor.core.reload import Step
from supervisor.core.state import Decision, State

#: Seconds between two queries of nginx's generation: while a new one is awaited, while nginx is
#: unresponsive, and otherwise (an outage must be detected and confirmed within 5 s).
_POLL_AWAITING = 0.003
_POLL_UNRESPONSIVE = 0.1
_POLL_IDLE = 3.5

#: The view is renewed at least this often, in seconds, while nginx answers, so its age is usable.
_VIEW_INTERVAL = 1.0


def update_view(state: State, now: float) -> Decision:
    """
    Update the poll interval and the view from the state.
    """
    commands: list[Command] = []
    poll_interval, view = _poll_interval(state), _view(state, now)
    if poll_interval != state.poll_interval:
        commands.append(SetPollInterval(poll_interval))
    if (
        replace(view, at=state.view.at) == state.view
        and state.generation_seen_at < state.view.at + _VIEW_INTERVAL
    ):
        view = state.view
    return replace(state, poll_interval=poll_interval, view=view), commands


def status_line(state: State, now: float) -> Command:
    """
    Return the log line that SIGUSR2 requests: the whole status in one line.
    """
    remaining = state.lifetime.deadline - now
    failing = [source.failing_since for source in state.endpoint_set.sources.values()]
    failing_since = min((since for since in failing if since is not None), default=None)
    return note(
        "status",
        phase=state.lifetime.phase,
        nginx=state.master.health,
        pid=state.master.pid,
        step=state.rollout.step,
        endpoints=state.view.endpoints,
        mode=state.view.mode,
        generation=state.view.generation,
        unanswered_for=None if failing_since is None else round(now - failing_since, 1),
        deadline=None if state.deadline_epoch is None else format_instant(state.deadline_epoch),
        remaining=None if remaining == NEVER else round(remaining, 1),
        idle_for=None if state.idle.used_at is None else round(now - state.idle.used_at, 1),
    )


def _poll_interval(state: State) -> float:
    if state.lifetime.is_ending or state.master.health is MasterState.DOWN:
        return 0.0
    if state.master.health is MasterState.BOOTING or state.rollout.step is Step.LOOKING:
        return _POLL_AWAITING
    return _POLL_IDLE if state.rollout.unresponsive_since == NEVER else _POLL_UNRESPONSIVE


def _view(state: State, now: float) -> View:
    live = state.rollout.live
    roll = state.rollout
    unresponsive = (roll.unresponsive_since < NEVER and roll.public_port_answers is False) or (
        roll.revives and roll.step is not Step.IDLE
    )
    responds = state.master.health is MasterState.UP and not unresponsive
    healthy = responds and live is not None
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
