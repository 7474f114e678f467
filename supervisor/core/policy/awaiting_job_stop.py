"""
Rules for AT_DEADLINE=stop-job, from the deadline until shutdown: request Nomad to stop the job.

The rules of `running` still apply and all requests are served; only READY_PATH reports 503.
Nomad's stop signal begins shutdown; so does a refused or unanswered request.  The deadline has
passed, so any error from here on exits with code 0.
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

#: What Nomad appends to a parent job's ID to form a child's; an ACL policy is bound to the parent.
_CHILD_JOB = re.compile("/(?:dispatch|periodic)-")


def request_job_stop(state: State, now: float, reason: str = "deadline") -> Decision:
    """
    Send the first request and stop being ready; client requests are still served.
    """
    life = lifecycle.enter(state.lifetime, Phase.ASKING)
    life = replace(life, ladder=life.ladder._replace(reason=reason))
    stop = job_stop.requested(job_stop.started(now))
    state = replace(state, lifetime=life, job_stop=stop, in_lame_duck=True)
    limit = format_span(job_stop.SIGNAL_TIMEOUT)
    line = note(
        "job.stop_requested",
        job=state.settings.nomad_job_id,
        namespace=state.settings.nomad_namespace,
        hint=f"serving until Nomad sends the stop signal, {limit} at most",
    )
    return endpoints.offer_plan(state, now, [RequestJobStop(), line])


def on_answer(state: State, answer: JobStopAnswered, now: float) -> Decision:
    """
    Handle the result of a stop request: accepted, refused, or no response.
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
    Repeat the request, or shut down without Nomad's stop signal, when due.
    """
    stop = state.job_stop
    if now >= stop.give_up_at:
        reason, total = state.lifetime.ladder.reason, state.settings.drain_timeout
        life = lifecycle.drain(state.lifetime, reason, total, now)
        state, commands = shutdown.start_shutdown(state, life)
        return state, [*commands, _not_stopped(state.settings, stop)]
    if now >= stop.request_at:
        return replace(state, job_stop=job_stop.requested(stop)), [RequestJobStop()]
    return state, []


def force_exit_zero(commands: list[Command], reason: str) -> list[Command]:
    """
    Replace every exit code by 0 and keep the original reason as `error`: the end has begun, and
    `reason` is why.
    """
    return [
        exit_command(ExitCode.OK, reason, error=command.reason, **command.fields)
        if isinstance(command, Exit)
        else command
        for command in commands
    ]


def late_answer(settings: Settings, event: Event) -> list[Note]:
    """
    Return the log line for the single request that a start past the deadline sends.
    """
    if not isinstance(event, JobStopAnswered):
        error = f"no response within {format_span(job_stop.LATE_REQUEST_TIMEOUT)}"
        return [_not_stopped(settings, JobStop(error=error))]
    if event.error:
        return [_not_stopped(settings, JobStop(error=event.error))]
    return [note("job.stop_accepted", tries=1)]


def _not_stopped(settings: Settings, stop: JobStop) -> Note:
    """Return the warning that the job keeps running: the reason and the commands to run."""
    job, namespace = settings.nomad_job_id, settings.nomad_namespace
    command = f"nomad job stop -namespace {namespace} {shlex.quote(job)}"
    if stop.is_granted:
        limit = format_span(job_stop.SIGNAL_TIMEOUT)
        return note(
            "job.not_stopped",
            "warning",
            job=job,
            reason=f"Nomad accepted, but sent no stop signal within {limit}",
            hint=f"exiting; run `{command}` to stop the job",
        )
    bound_to = shlex.quote(_CHILD_JOB.split(job)[0])
    return note(
        "job.not_stopped",
        "warning",
        job=job,
        reason=stop.error or "no response in time",
        hint=f"exiting; the job's other tasks keep running; run `{command}` to stop them",
        policy=f'namespace "{namespace}" {{ capabilities = ["deregister-job"] }}',
        policy_before_2_0=f'namespace "{namespace}" {{ capabilities = ["submit-job"] }}',
        apply=f"nomad acl policy apply -namespace {namespace} -job {bound_to} NAME file.hcl",
    )
