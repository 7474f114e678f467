"""
AT_DEADLINE=stop-job: Nomad is requested to stop the job, and the exit code is always 0.
"""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import job_stop
from supervisor.core.commands import Exit, Note, RequestJobStop, SaveState, SpawnMaster
from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.events import (
    ChildExited,
    Event,
    GenerationReported,
    JobStopAnswered,
    SignalArrived,
    TimePassed,
)
from supervisor.core.lifecycle import Phase
from supervisor.core.model import ChildKind, Mode
from supervisor.core.policy.awaiting_job_stop import late_answer
from tests.support.policy_simulation import WALL, FakeSystem, Simulation, endpoints, snapshot

ACCEPTED = JobStopAnswered()
FORBIDDEN = JobStopAnswered("Nomad rejected the token (403)", 403)
UNREACHABLE = JobStopAnswered("connection to Nomad at http://127.0.0.1:4646 refused")
ONLY_SIGKILL = frozenset({signal.SIGKILL})

#: The deadline of these simulations, which start at 1000.
DEADLINE = 1010.0


def simulate(answer: JobStopAnswered | None, **configured: str) -> Simulation:
    """
    Serve one endpoint until 0.5 s before the deadline; Nomad then gives this answer.
    """
    variables = {"AT_DEADLINE": "stop-job", "NOMAD_JOB_ID": "web", "TTL": "10s", **configured}
    sim = Simulation(variables, system=FakeSystem(job_stop_answer=answer)).serve(1)
    return sim.run(DEADLINE - 0.5 - sim.now)


def requests(sim: Simulation) -> list[float]:
    """
    Return how many seconds after the deadline each request was sent.
    """
    return [round(at - DEADLINE, 3) for at in sim.times(RequestJobStop)]


def ended(sim: Simulation) -> tuple[int, str, float]:
    """
    Return the exit code, the reason, and the seconds from the deadline to the exit.
    """
    assert sim.exit
    return sim.exit.code, sim.exit.reason, round(sim.times(Exit)[0] - DEADLINE, 3)


def test_a_request_at_the_deadline_then_nomads_signal_ends_it() -> None:
    """
    One request, the signal 40 ms later, then the exit: the reason is the deadline, the code 0.
    """
    sim = simulate(ACCEPTED).run(100)

    assert [0.0] == requests(sim)
    assert [DEADLINE + 0.04] == sim.signals(signal.SIGQUIT)
    assert (0, "deadline", 0.045) == ended(sim)
    assert sim.exit
    assert sim.exit.fields["ended_alone"] is False
    assert [] == sim.notes("job.not_stopped")


def test_the_request_precedes_every_log_line() -> None:
    """
    Nothing is logged between the deadline and the request to Nomad.
    """
    sim = simulate(ACCEPTED).run(0.5)

    assert isinstance(next(command for at, command in sim.issued if at >= DEADLINE), RequestJobStop)
    assert (
        "serving until Nomad sends the stop signal, 1m at most"
        == (sim.notes("job.stop_requested")[0].fields["hint"])
    )


def test_at_deadline_exit_sends_no_request() -> None:
    """
    The default exits at the deadline and logs nothing about the job.
    """
    sim = simulate(ACCEPTED, AT_DEADLINE="exit").run(100)

    assert [] == requests(sim)
    assert (0, "deadline", 0.005) == ended(sim)
    assert sim.exit
    assert "ended_alone" not in sim.exit.fields


def test_requests_are_served_while_the_stop_signal_is_awaited() -> None:
    """
    Requests are served and endpoint changes applied; readiness is off, `Sunset` is still sent.
    """
    sim = simulate(ACCEPTED)
    sim.system.stop_signal_after = 30
    before = sim.served
    sim.run(3)
    assert Phase.ASKING is sim.state.lifetime.phase
    assert (Mode.DRAINING, endpoints(1)) == (sim.served.mode, sim.served.endpoints)
    assert before.sunset == sim.served.sunset
    assert (True, False) == (sim.state.view.healthy, sim.state.view.ready)

    sim.send(snapshot(1, 2))
    sim.run(3)
    assert endpoints(1, 2) == sim.served.endpoints
    assert [] == sim.signals(signal.SIGQUIT)

    sim.run(60)
    assert (0, "deadline", 30.005) == ended(sim)


def test_the_stop_signal_limits_the_drain() -> None:
    """
    Nomad's kill_timeout counts from its signal: STOP_TIMEOUT limits the drain, not DRAIN_TIMEOUT.
    """
    sim = simulate(ACCEPTED, STOP_TIMEOUT="4s", DRAIN_TIMEOUT="10m")
    sim.system.effective_signals = ONLY_SIGKILL
    sim.run(100)

    code, reason, after = ended(sim)
    assert (0, "deadline") == (code, reason)
    assert after <= 0.04 + 4.0


def test_another_stop_signal_escalates() -> None:
    """
    The requested signal is the first stop signal; the next one escalates.
    """
    sim = simulate(ACCEPTED, STOP_TIMEOUT="60s")
    sim.system.effective_signals = ONLY_SIGKILL
    sim.run(1)
    assert 1 == sim.state.lifetime.ladder.stops
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(5)

    assert ended(sim)[2] <= 2.0


def test_without_permission_it_exits_and_logs_the_policy() -> None:
    """
    A 403 is not retried: one request, one warning with the policy to apply, then the drain.
    """
    sim = simulate(FORBIDDEN, NOMAD_NAMESPACE="ml").run(100)

    assert [0.0] == requests(sim)
    assert (0, "deadline", 0.01) == ended(sim)
    (line,) = sim.notes("job.not_stopped")
    assert "warning" == line.level
    assert FORBIDDEN.error == line.fields["reason"]
    assert "`nomad job stop -namespace ml web`" in line.fields["hint"]
    assert 'namespace "ml" { capabilities = ["deregister-job"] }' == line.fields["policy"]
    assert "submit-job" in line.fields["policy_before_2_0"]
    assert "nomad acl policy apply -namespace ml -job web NAME file.hcl" == line.fields["apply"]
    assert sim.exit
    assert sim.exit.fields["ended_alone"] is True


@pytest.mark.parametrize(
    "job, bound_to, quoted",
    [
        ("fit/dispatch-1764-ab", "fit", "fit/dispatch-1764-ab"),
        ("daily/periodic-1764", "daily", "daily/periodic-1764"),
        ("team/web", "team/web", "team/web"),
        ("a b; rm *", "'a b; rm *'", "'a b; rm *'"),
    ],
)
def test_the_commands_are_quoted_for_a_shell(job: str, bound_to: str, quoted: str) -> None:
    """
    A policy is bound to the parent of a dispatched or periodic job; both commands are quoted.
    """
    sim = simulate(FORBIDDEN, NOMAD_JOB_ID=job).run(1)

    (line,) = sim.notes("job.not_stopped")
    assert f" -job {bound_to} NAME" in line.fields["apply"]
    assert f"-namespace default {quoted}`" in line.fields["hint"]


def test_without_a_stop_signal_drain_timeout_applies() -> None:
    """
    DRAIN_TIMEOUT counts from the refusal.
    """
    sim = simulate(FORBIDDEN, DRAIN_TIMEOUT="20s", STOP_TIMEOUT="1s")
    sim.system.effective_signals = ONLY_SIGKILL
    sim.run(100)

    assert 19.7 <= ended(sim)[2] <= 20.01


def test_a_stop_signal_in_that_drain_does_not_change_ended_alone() -> None:
    """
    A stop signal during the drain shortens it; the job still keeps running.
    """
    sim = simulate(FORBIDDEN, DRAIN_TIMEOUT="20s", STOP_TIMEOUT="1s")
    sim.system.effective_signals = ONLY_SIGKILL
    sim.run(5)
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(60)

    assert ended(sim)[2] <= 6.0
    assert sim.exit
    assert sim.exit.fields["ended_alone"] is True


def test_an_unreachable_api_is_retried_for_half_a_minute() -> None:
    """
    Nine requests with growing pauses; then one warning and the exit.
    """
    sim = simulate(UNREACHABLE, LOG_LEVEL="debug").run(100)

    assert [0.0, 0.505, 1.51, 3.515, 7.52, 12.525, 17.53, 22.535, 27.54] == requests(sim)
    code, reason, after = ended(sim)
    assert (0, "deadline") == (code, reason)
    assert 27.5 < after <= 30.01
    levels = [note.level for note in sim.commands(Note) if note.event.startswith("job.")]
    assert 1 == levels.count("warning")
    assert {"info", "debug", "warning"} == set(levels)
    (line,) = sim.notes("job.not_stopped")
    assert UNREACHABLE.error == line.fields["reason"]


def test_an_api_that_recovers_within_the_time_stops_the_job() -> None:
    """
    Earlier failures cause no warning.
    """
    sim = simulate(UNREACHABLE).run(5)
    sim.system.job_stop_answer = ACCEPTED
    sim.run(60)

    assert [0.0, 0.505, 1.51, 3.515, 7.52] == requests(sim)
    assert (0, "deadline", 7.565) == ended(sim)
    assert [] == sim.notes("job.not_stopped")


@pytest.mark.parametrize("status", [307, 400, 401, 404, 405, 200])
def test_a_permanent_refusal_is_not_retried(status: int) -> None:
    """
    One request for each status that a retry cannot change; 200 is a job unknown to Nomad.
    """
    sim = simulate(JobStopAnswered("no", status)).run(100)

    assert [0.0] == requests(sim)
    assert (0, "deadline", 0.01) == ended(sim)


@pytest.mark.parametrize("status", [429, 500, 503, None])
def test_a_transient_error_is_retried(status: int | None) -> None:
    """
    A cluster without a leader, too many connections, or no complete response.
    """
    sim = simulate(JobStopAnswered("transient", status)).run(2.5)

    assert [0.0, 0.505, 1.51] == requests(sim)


def test_retry_after_is_respected() -> None:
    """
    The next request is sent when Retry-After allows it.
    """
    sim = simulate(JobStopAnswered("too many", 429, retry_after=12.0)).run(100)

    assert [0.0, 12.005, 24.01] == requests(sim)
    assert ended(sim)[2] <= 30.01


def test_a_retry_after_beyond_the_limit_is_a_refusal() -> None:
    """
    A retry that would come after the limit is not awaited.
    """
    sim = simulate(JobStopAnswered("too many", 429, retry_after=31.0)).run(100)

    assert [0.0] == requests(sim)
    assert (0, "deadline", 0.01) == ended(sim)


def test_a_request_without_an_answer_times_out() -> None:
    """
    The exit follows after 30 s, and no second request is sent while the first is pending.
    """
    sim = simulate(None).run(100)

    assert [0.0] == requests(sim)
    assert (0, "deadline", 30.005) == ended(sim)
    assert "no response in time" == sim.notes("job.not_stopped")[0].fields["reason"]


def test_an_accepted_request_without_a_signal_times_out() -> None:
    """
    If Nomad sends no signal within a minute, a warning is logged and the drain begins.
    """
    sim = simulate(ACCEPTED)
    sim.system.stop_signal_after = None
    sim.run(200)

    assert [0.0] == requests(sim)
    assert (0, "deadline", 60.005) == ended(sim)
    (line,) = sim.notes("job.not_stopped")
    assert "Nomad accepted, but sent no stop signal within 1m" == line.fields["reason"]
    assert sim.exit
    assert sim.exit.fields["ended_alone"] is True
    assert "policy" not in line.fields


def test_a_late_acceptance_does_not_extend_the_minute() -> None:
    """
    The minute counts from the deadline, not from the answer.
    """
    sim = simulate(JobStopAnswered("too many", 429, retry_after=29.0)).run(5)
    sim.system.job_stop_answer = ACCEPTED
    sim.system.stop_signal_after = None
    sim.run(200)

    assert (0, "deadline", 60.005) == ended(sim)


@pytest.mark.parametrize("answer", [UNREACHABLE, None], ids=["unreachable", "no answer"])
def test_a_stop_signal_ends_the_wait(answer: JobStopAnswered | None) -> None:
    """
    A stop signal from elsewhere begins the usual drain, and no further request is sent.
    """
    sim = simulate(answer).run(3.5)
    before = requests(sim)
    sim.send(SignalArrived(signal.SIGTERM))
    sim.run(100)

    assert before == requests(sim)
    assert (0, "deadline", 3.005) == ended(sim)
    assert [] == sim.notes("job.not_stopped")


def test_an_answer_during_the_drain_changes_nothing() -> None:
    """
    The signal can arrive before the answer to the request that caused it.
    """
    sim = simulate(None).run(1)
    sim.system.effective_signals = ONLY_SIGKILL
    sim.send(SignalArrived(signal.SIGTERM))
    before = sim.state
    for answer in (ACCEPTED, FORBIDDEN, UNREACHABLE):
        assert [] == sim.send(answer)
    assert before == sim.state

    sim.run(60)
    assert [0.0] == requests(sim)
    assert sim.exit
    assert sim.exit.fields["ended_alone"] is False


def test_an_answer_without_a_request_changes_nothing() -> None:
    """
    No request is pending while the service runs.
    """
    sim = simulate(None)

    assert [] == sim.send(FORBIDDEN)
    assert Phase.RUNNING is sim.state.lifetime.phase


def test_a_lost_nginx_while_waiting_exits_with_0() -> None:
    """
    After the deadline the code is 0 instead of nginx's; the loss is reported as `error`.
    """
    sim = simulate(ACCEPTED)
    sim.system.stop_signal_after = None
    sim.run(1)
    for _ in range(4):
        sim.run(2)
        if sim.exit is None:
            sim.send(ChildExited(sim.state.master.pid, ChildKind.MASTER, 139))

    assert sim.exit
    assert (0, "deadline") == (sim.exit.code, sim.exit.reason)
    assert "4 times within 1m" in sim.exit.fields["error"]


def test_an_nginx_that_never_started_does_not_delay_the_request() -> None:
    """
    The request is sent even if the deadline passes while nginx starts.
    """
    variables = {"AT_DEADLINE": "stop-job", "NOMAD_JOB_ID": "web", "TTL": "1s"}
    sim = Simulation(variables, system=FakeSystem(job_stop_answer=ACCEPTED, boot_time=3600))
    sim.send(snapshot(1))
    sim.run(100)

    assert [1001.0] == sim.times(RequestJobStop)
    assert sim.exit
    assert (0, "deadline") == (sim.exit.code, sim.exit.reason)


def test_sighup_while_waiting_rereads_the_files() -> None:
    """
    It does not end the wait.
    """
    sim = simulate(None).run(1)
    sim.send(SignalArrived(signal.SIGHUP))

    assert 1 == len(sim.notes("config.rereading"))
    assert Phase.ASKING is sim.state.lifetime.phase


def restarted(**configured: str) -> Simulation:
    """
    Start ten minutes after the recorded deadline.
    """
    record = DeadlineRecord("", WALL - 4200, "TTL=1h", WALL - 600)
    return Simulation({"NOMAD_JOB_ID": "web", "TTL": "1h", **configured}, record=record)


def test_a_restart_past_the_deadline_requests_the_stop_once_more() -> None:
    """
    Nothing is started or saved; Exit follows the request.
    """
    sim = restarted(AT_DEADLINE="stop-job")

    assert [RequestJobStop, Exit] == [
        type(command) for _, command in sim.issued if not isinstance(command, Note)
    ]
    assert [] == sim.commands(SpawnMaster) + sim.commands(SaveState)
    assert (0, "deadline passed before this start") == (
        sim.commands(Exit)[0].code,
        sim.commands(Exit)[0].reason,
    )
    assert [] == restarted().commands(RequestJobStop)


@pytest.mark.parametrize(
    "event, log_id, reason",
    [
        (ACCEPTED, "job.stop_accepted", None),
        (UNREACHABLE, "job.not_stopped", UNREACHABLE.error),
        (TimePassed(), "job.not_stopped", "no response within 0.5s"),
    ],
)
def test_the_result_of_that_request_is_logged(
    event: Event, log_id: str, reason: str | None
) -> None:
    """
    One line, which contains the policy if the request failed.
    """
    (line,) = late_answer(restarted(AT_DEADLINE="stop-job").settings, event)

    assert (log_id, reason) == (line.event, line.fields.get("reason"))
    assert (reason is None) == ("policy" not in line.fields)


@given(
    history=st.lists(
        st.one_of(
            st.sampled_from([signal.SIGTERM, signal.SIGHUP]).map(SignalArrived),
            st.sampled_from([ACCEPTED, FORBIDDEN, UNREACHABLE, JobStopAnswered("x", 429, 20.0)]),
            st.integers(1, 4).map(snapshot),
            st.just(GenerationReported(None)),
            st.floats(0.01, 20.0),
        ),
        max_size=20,
    ),
    answer=st.sampled_from([None, ACCEPTED, FORBIDDEN, UNREACHABLE]),
    nginx_exits=st.booleans(),
)
def test_any_history_exits_with_0_and_in_time(
    history: list[Event | float], answer: JobStopAnswered | None, *, nginx_exits: bool
) -> None:
    """
    No history delays the exit beyond the minute and the drain, or changes the code 0.
    """
    sim = simulate(answer, DRAIN_TIMEOUT="5s")
    sim.system.stop_signal_after = None
    for step in history:
        if isinstance(step, float):
            sim.run(step)
        elif sim.exit is None:
            sim.send(step)
    if not nginx_exits:
        sim.system.effective_signals = frozenset()
    sim.run(200)

    assert sim.exit
    assert 0 == sim.exit.code
    assert ended(sim)[2] <= job_stop.SIGNAL_TIMEOUT + 5 + 0.01
    assert 1 == len(sim.commands(Exit))
    assert len(sim.notes("job.not_stopped")) <= 1
