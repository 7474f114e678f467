"""
Between the deadline and the end, with AT_DEADLINE=stop-job: Nomad is asked to stop the whole job.

Everything is served on meanwhile, by the rules of `running`; only READY_PATH says that the end is
near.  What ends it is Nomad's stop signal, or that nothing came of the question.  The deadline is
over: whatever goes wrong from here on, the code is 0.
"""

import re
import shlex
from dataclasses import replace

from supervisor.core import job_stop, lifecycle
from supervisor.core.commands import Command, Exit, Note, RequestJobStop, exit_command, note
from supervisor.core.config.settings import Settings
from supervisor.core.durations import format_span
from supervisor.core.errors import ExitCode
from supervisor.core.events import Event, JobStopAnswered
from supervisor.core.job_stop import JobStop
from supervisor.core.lifecycle import Phase
from supervisor.core.policy import endpoints, shutdown
from supervisor.core.state import Decision, State

#: What Nomad appends to the ID of a job that it makes of another: the policy is bound to that one.
_CHILD = re.compile("/(?:dispatch|periodic)-")


def request_job_stop(state: State, now: float) -> Decision:
    """
    Ask, and be ready no more; requests are still served.
    """
    life = lifecycle.enter(state.lifetime, Phase.ASKING)
    life = replace(life, ladder=life.ladder._replace(reason="deadline"))
    stop = job_stop.requested(job_stop.started(now))
    state = replace(state, lifetime=life, job_stop=stop, in_lame_duck=True)
    line = note(
        "job.stop_requested",
        job=state.settings.nomad_job_id,
        namespace=state.settings.nomad_namespace,
        hint=f"serving on until Nomad stops us, {format_span(job_stop.SIGNAL_TIMEOUT)} at most",
    )
    return endpoints.offer_plan(state, now, [RequestJobStop(), line])


def on_answer(state: State, answer: JobStopAnswered, now: float) -> Decision:
    """
    Take in what Nomad says to the question, or that it says nothing.
    """
    if state.lifetime.phase is not Phase.ASKING:
        return state, []
    stop = job_stop.answered(state.job_stop, answer, now)
    if stop.is_granted:
        line = note("job.stop_accepted", tries=stop.tries)
    else:
        pause = None if now >= stop.give_up_at else round(stop.request_at - now, 2)
        line = note("job.stop_retry", "debug", reason=answer.error, retry_in=pause)
    return replace(state, job_stop=stop), [line]


def perform_due(state: State, now: float) -> Decision:
    """
    Ask once more, or go alone, when it is time.
    """
    stop = state.job_stop
    if now >= stop.give_up_at:
        life = lifecycle.drain(state.lifetime, "deadline", state.settings.drain_timeout, now)
        state, commands = shutdown.start_shutdown(state, life)
        return state, [*commands, _alone(state.settings, stop)]
    if now >= stop.request_at:
        return replace(state, job_stop=job_stop.requested(stop)), [RequestJobStop()]
    return state, []


def force_exit_zero(commands: list[Command]) -> list[Command]:
    """
    Let what would have ended the program with another code end it with 0: the deadline is over.
    """
    return [
        exit_command(ExitCode.OK, "deadline", error=command.reason, **command.fields)
        if isinstance(command, Exit)
        else command
        for command in commands
    ]


def late_answer(settings: Settings, event: Event) -> list[Note]:
    """
    Say what became of the one question of a start past the deadline.
    """
    if not isinstance(event, JobStopAnswered):
        error = f"no answer within {format_span(job_stop.LATE_REQUEST_TIMEOUT)}"
        return [_alone(settings, JobStop(error=error))]
    if event.error:
        return [_alone(settings, JobStop(error=event.error))]
    return [note("job.stop_accepted", tries=1)]


def _alone(settings: Settings, stop: JobStop) -> Note:
    """Say that the job goes on without us, why, and what a person can do about it."""
    job, namespace = settings.nomad_job_id, settings.nomad_namespace
    by_hand = f"nomad job stop -namespace {namespace} {shlex.quote(job)}"
    if stop.is_granted:
        within = format_span(job_stop.SIGNAL_TIMEOUT)
        return note(
            "job.not_stopped",
            "warning",
            job=job,
            reason=f"Nomad agreed, but sent no signal within {within}",
            hint=f"ending alone; `{by_hand}` asks again",
        )
    bound_to = shlex.quote(_CHILD.split(job)[0])
    return note(
        "job.not_stopped",
        "warning",
        job=job,
        reason=stop.error or "no answer in time",
        hint=f"ending alone, the rest of the job runs on; `{by_hand}` stops it",
        policy=f'namespace "{namespace}" {{ capabilities = ["deregister-job"] }}',
        policy_before_2_0=f'namespace "{namespace}" {{ capabilities = ["submit-job"] }}',
        apply=f"nomad acl policy apply -namespace {namespace} -job {bound_to} NAME file.hcl",
    )
