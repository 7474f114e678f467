"""
AT_DEADLINE=stop-job, as histories: the whole job is asked to end, and we end well whatever comes.
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
from tests.support.play import WALL, Play, World, arrives, endpoints

GRANTED = JobStopAnswered()
FORBIDDEN = JobStopAnswered("Nomad rejected the token (403)", 403)
AWAY = JobStopAnswered("connection to Nomad at http://127.0.0.1:4646 refused")
STUBBORN = frozenset({signal.SIGKILL})

#: When the deadline of these histories comes: they begin at 1000.
DUE = 1010.0


def play(answer: JobStopAnswered | None, **configured: str) -> Play:
    """
    Serve one endpoint until just before a deadline at which Nomad answers like this.
    """
    told = {"AT_DEADLINE": "stop-job", "NOMAD_JOB_ID": "web", "TTL": "10s", **configured}
    played = Play(told, world=World(job_stop=answer)).serve(1)
    return played.run(DUE - 0.5 - played.now)


def asked(played: Play) -> list[float]:
    """
    Return how many seconds after the deadline Nomad was asked.
    """
    return [round(at - DUE, 3) for at in played.times(RequestJobStop)]


def ended(played: Play) -> tuple[int, str, float]:
    """
    Return the code, the reason, and how many seconds after the deadline it left.
    """
    assert played.exit
    return played.exit.code, played.exit.reason, round(played.times(Exit)[0] - DUE, 3)


def test_nomad_is_asked_at_the_deadline_and_its_signal_is_the_end() -> None:
    """
    Asked once, told 40 ms later, gone at once: the reason is the deadline, the code 0.
    """
    played = play(GRANTED).run(100)

    assert [0.0] == asked(played)
    assert [DUE + 0.04] == played.signals(signal.SIGQUIT)
    assert (0, "deadline", 0.045) == ended(played)
    assert played.exit
    assert played.exit.fields["ended_alone"] is False
    assert [] == played.notes("job.not_stopped")


def test_the_question_comes_before_anything_is_said() -> None:
    """
    Not even a log line comes between the deadline and Nomad.
    """
    played = play(GRANTED).run(0.5)

    assert isinstance(next(command for at, command in played.issued if at >= DUE), RequestJobStop)
    assert (
        "serving on until Nomad stops us, 1m at most"
        == (played.notes("job.stop_requested")[0].fields["hint"])
    )


def test_without_the_setting_nobody_is_asked() -> None:
    """
    The default ends at the deadline, alone, and says nothing of a job.
    """
    played = play(GRANTED, AT_DEADLINE="exit").run(100)

    assert [] == asked(played)
    assert (0, "deadline", 0.005) == ended(played)
    assert played.exit
    assert "ended_alone" not in played.exit.fields


def test_while_nomad_is_awaited_everything_is_served_and_followed() -> None:
    """
    Requests go on and endpoints that leave are followed; ready it is no more, and the time of the
    end is still told.
    """
    played = play(GRANTED)
    played.world.stops_after = 30
    before = played.served
    played.run(3)
    assert Phase.ASKING is played.state.lifetime.phase
    assert (Mode.DRAINING, endpoints(1)) == (played.served.mode, played.served.endpoints)
    assert before.sunset == played.served.sunset
    assert (True, False) == (played.state.view.healthy, played.state.view.ready)

    played.send(arrives(1, 2))
    played.run(3)
    assert endpoints(1, 2) == played.served.endpoints
    assert [] == played.signals(signal.SIGQUIT)

    played.run(60)
    assert (0, "deadline", 30.005) == ended(played)


def test_the_signal_has_the_time_of_a_stop() -> None:
    """
    Nomad's kill_timeout counts from its signal: STOP_TIMEOUT bounds the drain, not DRAIN_TIMEOUT.
    """
    played = play(GRANTED, STOP_TIMEOUT="4s", DRAIN_TIMEOUT="10m")
    played.world.obeys = STUBBORN
    played.run(100)

    code, reason, after = ended(played)
    assert (0, "deadline") == (code, reason)
    assert after <= 0.04 + 4.0


def test_each_further_signal_climbs_a_rung() -> None:
    """
    The one that was asked for is the first stop signal: the next one hastens.
    """
    played = play(GRANTED, STOP_TIMEOUT="60s")
    played.world.obeys = STUBBORN
    played.run(1)
    assert 1 == played.state.lifetime.ladder.stops
    played.send(SignalArrived(signal.SIGTERM))
    played.run(5)

    assert ended(played)[2] <= 2.0


def test_without_the_right_it_ends_alone_and_says_what_to_do() -> None:
    """
    A 403 will not become a yes: one question, one warning with the policy to apply, then the drain.
    """
    played = play(FORBIDDEN, NOMAD_NAMESPACE="ml").run(100)

    assert [0.0] == asked(played)
    assert (0, "deadline", 0.01) == ended(played)
    (said,) = played.notes("job.not_stopped")
    assert "warning" == said.level
    assert FORBIDDEN.error == said.fields["reason"]
    assert "`nomad job stop -namespace ml web`" in said.fields["hint"]
    assert 'namespace "ml" { capabilities = ["deregister-job"] }' == said.fields["policy"]
    assert "submit-job" in said.fields["policy_before_2_0"]
    assert "nomad acl policy apply -namespace ml -job web NAME file.hcl" == said.fields["apply"]
    assert played.exit
    assert played.exit.fields["ended_alone"] is True


@pytest.mark.parametrize(
    "job, bound_to, by_hand",
    [
        ("fit/dispatch-1764-ab", "fit", "fit/dispatch-1764-ab"),
        ("daily/periodic-1764", "daily", "daily/periodic-1764"),
        ("team/web", "team/web", "team/web"),
        ("a b; rm *", "'a b; rm *'", "'a b; rm *'"),
    ],
)
def test_the_commands_can_be_pasted(job: str, bound_to: str, by_hand: str) -> None:
    """
    A policy belongs to the job that a dispatched or periodic one was made of; a shell reads both.
    """
    played = play(FORBIDDEN, NOMAD_JOB_ID=job).run(1)

    (said,) = played.notes("job.not_stopped")
    assert f" -job {bound_to} NAME" in said.fields["apply"]
    assert f"-namespace default {by_hand}`" in said.fields["hint"]


def test_the_drain_of_one_who_ends_alone_is_that_of_a_deadline() -> None:
    """
    DRAIN_TIMEOUT is the total again, from the moment at which it is clear.
    """
    played = play(FORBIDDEN, DRAIN_TIMEOUT="20s", STOP_TIMEOUT="1s")
    played.world.obeys = STUBBORN
    played.run(100)

    assert 19.7 <= ended(played)[2] <= 20.01


def test_who_ends_alone_and_is_stopped_then_still_ended_alone() -> None:
    """
    A stop signal during that drain shortens it, and the job goes on without us all the same.
    """
    played = play(FORBIDDEN, DRAIN_TIMEOUT="20s", STOP_TIMEOUT="1s")
    played.world.obeys = STUBBORN
    played.run(5)
    played.send(SignalArrived(signal.SIGTERM))
    played.run(60)

    assert ended(played)[2] <= 6.0
    assert played.exit
    assert played.exit.fields["ended_alone"] is True


def test_an_api_that_is_away_is_asked_again_for_half_a_minute() -> None:
    """
    After growing pauses, nine times in all; then one warning, and the end alone.
    """
    played = play(AWAY, LOG_LEVEL="debug").run(100)

    assert [0.0, 0.505, 1.51, 3.515, 7.52, 12.525, 17.53, 22.535, 27.54] == asked(played)
    code, reason, after = ended(played)
    assert (0, "deadline") == (code, reason)
    assert 27.5 < after <= 30.01
    levels = [note.level for note in played.all(Note) if note.event.startswith("job.")]
    assert 1 == levels.count("warning")
    assert {"info", "debug", "warning"} == set(levels)
    (said,) = played.notes("job.not_stopped")
    assert AWAY.error == said.fields["reason"]


def test_an_api_that_comes_back_in_time_is_in_time() -> None:
    """
    What failed first is forgotten, and nobody is warned of anything.
    """
    played = play(AWAY).run(5)
    played.world.job_stop = GRANTED
    played.run(60)

    assert [0.0, 0.505, 1.51, 3.515, 7.52] == asked(played)
    assert (0, "deadline", 7.565) == ended(played)
    assert [] == played.notes("job.not_stopped")


@pytest.mark.parametrize("status", [307, 400, 401, 404, 405, 200])
def test_a_no_is_a_no(status: int) -> None:
    """
    What the next answer will not change is asked once; 200 is a job that Nomad does not know.
    """
    played = play(JobStopAnswered("no", status)).run(100)

    assert [0.0] == asked(played)
    assert (0, "deadline", 0.01) == ended(played)


@pytest.mark.parametrize("status", [429, 500, 503, None])
def test_trouble_that_may_pass_is_asked_again(status: int | None) -> None:
    """
    A server without a leader, too many connections, or no whole answer.
    """
    played = play(JobStopAnswered("trouble", status)).run(2.5)

    assert [0.0, 0.505, 1.51] == asked(played)


def test_a_retry_after_is_followed() -> None:
    """
    Nomad says when to ask again, to the second.
    """
    played = play(JobStopAnswered("too many", 429, retry_after=12.0)).run(100)

    assert [0.0, 12.005, 24.01] == asked(played)
    assert ended(played)[2] <= 30.01


def test_a_retry_after_that_is_too_long_is_a_no() -> None:
    """
    Nobody waits for a moment that will come too late.
    """
    played = play(JobStopAnswered("too many", 429, retry_after=31.0)).run(100)

    assert [0.0] == asked(played)
    assert (0, "deadline", 0.01) == ended(played)


def test_a_question_that_is_never_answered() -> None:
    """
    Whatever holds the answer does not hold us, and there is never a second question beside it.
    """
    played = play(None).run(100)

    assert [0.0] == asked(played)
    assert (0, "deadline", 30.005) == ended(played)
    assert "no answer in time" == played.notes("job.not_stopped")[0].fields["reason"]


def test_a_signal_that_never_comes_is_waited_for_a_minute() -> None:
    """
    Nomad agreed, and nothing happened: said, and the end alone with its drain.
    """
    played = play(GRANTED)
    played.world.stops_after = None
    played.run(200)

    assert [0.0] == asked(played)
    assert (0, "deadline", 60.005) == ended(played)
    (said,) = played.notes("job.not_stopped")
    assert "Nomad agreed, but sent no signal within 1m" == said.fields["reason"]
    assert played.exit
    assert played.exit.fields["ended_alone"] is True
    assert "policy" not in said.fields


def test_a_late_yes_leaves_the_rest_of_the_minute() -> None:
    """
    The minute counts from the deadline, not from the answer.
    """
    played = play(JobStopAnswered("too many", 429, retry_after=29.0)).run(5)
    played.world.job_stop = GRANTED
    played.world.stops_after = None
    played.run(200)

    assert (0, "deadline", 60.005) == ended(played)


@pytest.mark.parametrize("answer", [AWAY, None], ids=["away", "no answer"])
def test_a_stop_signal_ends_the_wait(answer: JobStopAnswered | None) -> None:
    """
    Somebody stopped the job by hand meanwhile: drained as at any stop, nobody asked again.
    """
    played = play(answer).run(3.5)
    before = asked(played)
    played.send(SignalArrived(signal.SIGTERM))
    played.run(100)

    assert before == asked(played)
    assert (0, "deadline", 3.005) == ended(played)
    assert [] == played.notes("job.not_stopped")


def test_an_answer_that_comes_during_the_drain_changes_nothing() -> None:
    """
    The signal can be faster than the answer to the question that caused it.
    """
    played = play(None).run(1)
    played.world.obeys = STUBBORN
    played.send(SignalArrived(signal.SIGTERM))
    before = played.state
    for answer in (GRANTED, FORBIDDEN, AWAY):
        assert [] == played.send(answer)
    assert before == played.state

    played.run(60)
    assert [0.0] == asked(played)
    assert played.exit
    assert played.exit.fields["ended_alone"] is False


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    """
    While the service runs nothing was asked.
    """
    played = play(None)

    assert [] == played.send(FORBIDDEN)
    assert Phase.RUNNING is played.state.lifetime.phase


def test_an_nginx_that_is_lost_meanwhile_ends_it_with_0() -> None:
    """
    The deadline is over: what would be nginx's own code is the deadline's, and the loss is said.
    """
    played = play(GRANTED)
    played.world.stops_after = None
    played.run(1)
    for _ in range(4):
        played.run(2)
        if played.exit is None:
            played.send(ChildExited(played.state.master.pid, ChildKind.MASTER, 139))

    assert played.exit
    assert (0, "deadline") == (played.exit.code, played.exit.reason)
    assert "4 times within 1m" in played.exit.fields["error"]


def test_an_nginx_that_never_ran_does_not_keep_the_job() -> None:
    """
    The deadline comes while nginx boots: the job is asked for all the same.
    """
    told = {"AT_DEADLINE": "stop-job", "NOMAD_JOB_ID": "web", "TTL": "1s"}
    played = Play(told, world=World(job_stop=GRANTED, boot=3600))
    played.send(arrives(1))
    played.run(100)

    assert [1001.0] == played.times(RequestJobStop)
    assert played.exit
    assert (0, "deadline") == (played.exit.code, played.exit.reason)


def test_a_sighup_meanwhile_is_obeyed() -> None:
    """
    It is neither a stop nor a nuisance.
    """
    played = play(None).run(1)
    played.send(SignalArrived(signal.SIGHUP))

    assert 1 == len(played.notes("config.rereading"))
    assert Phase.ASKING is played.state.lifetime.phase


def restarted(**configured: str) -> Play:
    """
    Start ten minutes after the deadline that an earlier start recorded.
    """
    record = DeadlineRecord("", WALL - 4200, "TTL=1h", WALL - 600)
    return Play({"NOMAD_JOB_ID": "web", "TTL": "1h", **configured}, record=record)


def test_a_restart_past_the_deadline_asks_once_more() -> None:
    """
    Nothing is started, nothing written; the order to leave stands behind the question.
    """
    played = restarted(AT_DEADLINE="stop-job")

    assert [RequestJobStop, Exit] == [
        type(command) for _, command in played.issued if not isinstance(command, Note)
    ]
    assert [] == played.all(SpawnMaster) + played.all(SaveState)
    assert (0, "deadline passed before this start") == (
        played.all(Exit)[0].code,
        played.all(Exit)[0].reason,
    )
    assert [] == restarted().all(RequestJobStop)


@pytest.mark.parametrize(
    "event, line, reason",
    [
        (GRANTED, "job.stop_accepted", None),
        (AWAY, "job.not_stopped", AWAY.error),
        (TimePassed(), "job.not_stopped", "no answer within 0.5s"),
    ],
)
def test_what_becomes_of_that_question_is_said(event: Event, line: str, reason: str | None) -> None:
    """
    One line, the policy in it where it did not work.
    """
    (said,) = late_answer(restarted(AT_DEADLINE="stop-job").settings, event)

    assert (line, reason) == (said.event, said.fields.get("reason"))
    assert (reason is None) == ("policy" not in said.fields)


@given(
    history=st.lists(
        st.one_of(
            st.sampled_from([signal.SIGTERM, signal.SIGHUP]).map(SignalArrived),
            st.sampled_from([GRANTED, FORBIDDEN, AWAY, JobStopAnswered("x", 429, 20.0)]),
            st.integers(1, 4).map(arrives),
            st.just(GenerationReported(None)),
            st.floats(0.01, 20.0),
        ),
        max_size=20,
    ),
    answer=st.sampled_from([None, GRANTED, FORBIDDEN, AWAY]),
    obeys=st.booleans(),
)
def test_whatever_happens_it_ends_with_0_and_in_time(
    history: list[Event | float], answer: JobStopAnswered | None, *, obeys: bool
) -> None:
    """
    No history holds it beyond the minute and the drain; nothing but 0 comes out of it.
    """
    played = play(answer, DRAIN_TIMEOUT="5s")
    played.world.stops_after = None
    for step in history:
        if isinstance(step, float):
            played.run(step)
        elif played.exit is None:
            played.send(step)
    if not obeys:
        played.world.obeys = frozenset()
    played.run(200)

    assert played.exit
    assert 0 == played.exit.code
    assert ended(played)[2] <= job_stop.SERVING_ON + 5 + 0.01
    assert 1 == len(played.all(Exit))
    assert len(played.notes("job.not_stopped")) <= 1
