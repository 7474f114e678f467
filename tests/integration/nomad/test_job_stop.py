"""
AT_DEADLINE=stop-job on a Nomad that agrees, refuses, lies, hangs or is away.

Endpoints are static here, so that the one thing Nomad is asked for is the stop.
"""

import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from supervisor.core.config import load
from supervisor.nomad.api import JobStopRequest
from supervisor.nomad.errors import NomadError
from tests.support.certificates import Authority
from tests.support.deadlines import run_time, write_record
from tests.support.fake_nomad import TOKEN, FakeNomad
from tests.support.nomad_faults import (
    GARBAGE,
    MEGABYTE,
    Exchange,
    Fault,
    body,
    body_drip,
    cut,
    hang,
    huge,
    raw,
    redirect,
    status,
    too_many,
    truncated,
)
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.traffic import Traffic
from tests.support.waiting import eventually
from tests.support.wire import Reply, Request

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

JOB = "fit/dispatch-1764-ab"


def client_of(nomad: FakeNomad, **environ: str) -> JobStopRequest:
    """
    Return a client that knows this Nomad.
    """
    told = {"SERVICE_NAME": "web", "NOMAD_ADDR": nomad.address, "NOMAD_TOKEN": TOKEN, **environ}
    return JobStopRequest(load.read(told, lambda _: True), lambda _: None)


def refusal(client: JobStopRequest, job: str = JOB) -> NomadError:
    """
    Return why a job is not stopped.
    """
    with pytest.raises(NomadError) as trouble:
        client.stop(job)
    client.close()
    return trouble.value


def start(supervise: Supervise, replica: Replica, **options: str) -> Supervised:
    """
    Start a program of a job that is to be stopped, and return it once it serves the replica.
    """
    told: dict[str, str | None] = {
        "SERVICE_NAME": None,
        "ENDPOINTS": f"127.0.0.1:{replica.port}",
        "AT_DEADLINE": "stop-job",
        "NOMAD_JOB_ID": JOB,
        "NOMAD_TOKEN": TOKEN,
        "START_WAIT": "5s",
        "LOG_LEVEL": "debug",
        **options,
    }
    subject = supervise(pid1=False, **told)
    subject.ready(status=200)
    return subject


def stops(nomad: FakeNomad) -> list[Request]:
    """
    Return every request to stop something.
    """
    return [request for request in nomad.requests if request.method == "DELETE"]


# ---------------------------------------------------------------------------------- the question


def test_a_job_is_stopped_by_its_whole_id(nomad: FakeNomad) -> None:
    """
    The ID of a dispatched job has a slash in it; namespace and region are named, and nothing is
    purged.
    """
    nomad.add("web", "10.0.0.1", 80, job=JOB, namespace="ml")
    client = client_of(nomad, NOMAD_NAMESPACE="ml", NOMAD_REGION="global")
    client.stop(JOB)
    client.close()

    (request,) = nomad.requests
    assert "/v1/job/fit%2Fdispatch-1764-ab" == request.target.partition("?")[0]
    assert {"namespace": "ml", "region": "global"} == request.query
    assert TOKEN == request.headers["X-Nomad-Token"]


def test_a_job_that_nomad_does_not_know_is_not_stopped(nomad: FakeNomad) -> None:
    """
    Nomad answers 200, and its empty EvalID is the only sign: no signal would ever come.
    """
    nomad.add("web", "10.0.0.1", 80, job=JOB, namespace="ml")
    trouble = refusal(client_of(nomad))

    assert 200 == trouble.status
    assert f"Nomad knows no job '{JOB}' in namespace 'default'" == trouble.reason


def test_the_task_api_does_the_same(tmp_path: Path) -> None:
    """
    Over the socket, with a token: without one it says which two lines are missing.
    """
    with FakeNomad(tmp_path / "api.sock", acl=True) as nomad:
        nomad.add("web", "10.0.0.1", 80, job=JOB)
        address = nomad.unix_address
        assert 403 == refusal(client_of(nomad, NOMAD_ADDR=address)).status
        assert "`identity`" in refusal(client_of(nomad, NOMAD_ADDR=address, NOMAD_TOKEN="")).reason
        nomad.rights = {"deregister-job"}
        client = client_of(nomad, NOMAD_ADDR=address)
        client.stop(JOB)
        client.close()

    assert {"unix"} == {request.via for request in nomad.requests}


def test_tls_is_that_of_every_question(tmp_path: Path) -> None:
    """
    A Nomad that nobody vouches for is not sent a token.
    """
    authority = Authority(tmp_path, "ours")
    with FakeNomad(tls=lambda: authority.server("127.0.0.1")) as nomad:
        nomad.add("web", "10.0.0.1", 80, job=JOB)
        assert "of no authority that we trust" in refusal(client_of(nomad)).reason
        assert [] == nomad.requests
        client = client_of(nomad, NOMAD_CACERT=str(authority.file))
        client.stop(JOB)
        client.close()

    assert 1 == len(stops(nomad))


def test_a_token_that_was_replaced_is_read_again(nomad: FakeNomad, tmp_path: Path) -> None:
    """
    A refused token is read once more, and the question posed again if there is another.
    """
    file = tmp_path / "token"
    file.write_text("7f0c1b9e-3d52-4a8e-9a51-0d6a4f6f2c11")
    nomad.acl, nomad.rights = True, {"submit-job"}
    nomad.add("web", "10.0.0.1", 80, job=JOB)
    client = client_of(nomad, NOMAD_TOKEN_FILE=str(file))

    def rotate(_: object) -> None:
        file.write_text(TOKEN)

    nomad.fault(lambda exchange: (rotate(exchange), exchange.current())[1], times=1)
    client.stop(JOB)
    client.close()

    assert 2 == len(stops(nomad))


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_nobody_is_followed_elsewhere(nomad: FakeNomad, code: int) -> None:
    """
    A redirect could stop somebody else's job, with our token: it is a no.
    """
    nomad.add("web", "10.0.0.1", 80, job="another")
    nomad.fault(redirect(f"{nomad.address}/v1/job/another", code), times=1)
    trouble = refusal(client_of(nomad))

    assert code == trouble.status
    assert "which is no answer to this question" in trouble.reason
    assert 1 == len(nomad.requests)


@pytest.mark.parametrize(
    "fault, code, reason",
    [
        (status(500, "No cluster leader"), 500, "Nomad answered 500"),
        (status(500, "No path to region"), 500, "Nomad answered 500"),
        (status(404), 404, "Nomad answered 404"),
        (too_many("7"), 429, "too many connections"),
        (cut(), None, "the connection failed"),
        (truncated(), None, "the connection failed"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), None, "the connection failed"),
        (huge(), None, "longer than 65536 bytes"),
    ],
    ids=["no leader", "no region", "404", "429", "cut", "truncated", "no http", "huge"],
)
def test_what_is_no_answer_is_told(
    nomad: FakeNomad, fault: Fault, code: int | None, reason: str
) -> None:
    """
    One reason, safe to log, whatever came back; a status only where there was one.
    """
    nomad.fault(fault)
    trouble = refusal(client_of(nomad))

    assert code == trouble.status
    assert reason in trouble.reason
    assert (7.0 if code == 429 else None) == trouble.retry_after


def test_no_more_is_read_than_an_answer_may_have(nomad: FakeNomad) -> None:
    """
    The line is dropped when an answer is too long, and not when 100 MB of it are in memory.
    """
    sent: list[int] = []

    def play(exchange: Exchange) -> None:
        exchange.write(Reply(headers={"Content-Length": str(100 * MEGABYTE)}).head())
        for number in range(100):
            exchange.write(b" " * MEGABYTE)
            sent.append(number)

    nomad.fault(play)
    refusal(client_of(nomad))

    assert len(sent) < 20  # what the kernel takes in between


@pytest.mark.parametrize("name", [*GARBAGE, "another type"])
def test_garbage_is_no_yes(nomad: FakeNomad, name: str) -> None:
    """
    Only an EvalID says that the job is going to be stopped.
    """
    nomad.fault(body({**GARBAGE, "another type": b'{"EvalID": 7}'}[name]))
    trouble = refusal(client_of(nomad))

    assert trouble.status is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault, at_most", [(hang(), 6), (body_drip(0.5), 16)], ids=["hangs", "drips"]
)
def test_every_answer_has_an_end(nomad: FakeNomad, fault: Fault, at_most: float) -> None:
    """
    One that does not begin within 5 s, or is not whole within 15, is none.
    """
    nomad.add("web", "10.0.0.1", 80, job=JOB)
    nomad.fault(fault)
    began = time.monotonic()

    assert "no whole answer in time" == refusal(client_of(nomad)).reason
    assert time.monotonic() - began < at_most


# ----------------------------------------------------------------------------------- the program


def test_it_serves_until_nomad_stops_it(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    Between the question and the signal no request fails, READY_PATH says 503 and the Sunset header
    stays; then it ends with 0, for the deadline.
    """
    (one,) = replicas("one")
    nomad.add("web", "10.0.0.1", 80, job=JOB)
    subject = start(supervise, one, TTL="2s")
    sunset = subject.get().headers["Sunset"]
    with Traffic(subject.port, every=0.01) as traffic:
        subject.wait_for_log("job.stop_accepted", tries=1)
        eventually(lambda: 503 == subject.get("/-/ready").status)
        answer = subject.get()
        asked = time.monotonic()
        eventually(lambda: time.monotonic() > asked + 1)
        assert subject.running
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(5)
    assert (200, sunset) == (answer.status, answer.headers["Sunset"])
    assert [] == traffic.failures
    assert 1 == len(stops(nomad))
    assert subject.ended
    assert ("deadline", 0, False) == tuple(
        subject.ended[name] for name in ("reason", "code", "ended_alone")
    )
    assert [] == subject.log_lines("job.not_stopped")
    assert TOKEN not in subject.recent_output


def test_without_the_right_it_ends_alone(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    With ACLs and no policy: one question, one warning that says what to apply, exit code 0 on time.
    """
    (one,) = replicas("one")
    nomad.acl = True
    nomad.add("web", "10.0.0.1", 80, job=JOB)
    subject = start(supervise, one, TTL="2s")

    assert 0 == subject.wait(10)
    assert run_time(subject) < 3.5
    assert 1 == len(stops(nomad))
    (said,) = subject.log_lines("job.not_stopped", level="warning")
    assert "Nomad refuses the token (403)" == said["reason"]
    assert "deregister-job" in said["policy"]
    assert "-job fit NAME" in said["apply"]
    assert subject.ended
    assert ("deadline", True) == (subject.ended["reason"], subject.ended["ended_alone"])


def test_an_api_that_comes_back_stops_the_job(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    An agent that restarts over the deadline: asked again until it is there, and served meanwhile.
    """
    (one,) = replicas("one")
    nomad.add("web", "10.0.0.1", 80, job=JOB)
    nomad.stop()
    subject = start(supervise, one, TTL="1s")
    eventually(lambda: len(subject.log_lines("job.stop_retry")) == 2)
    assert 200 == subject.get().status
    nomad.start()
    subject.wait_for_log("job.stop_accepted", tries=3)
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(5)
    assert [] == subject.log_lines("job.not_stopped")


@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.parametrize("how", ["away", "500", "hangs", "429"])
def test_an_api_that_stays_away_is_said_once(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, how: str
) -> None:
    """
    Half a minute of questions that grow rarer, served all the while; then one warning, and 0.
    """
    (one,) = replicas("one")
    if how == "away":
        nomad.stop()
    faults = {"500": status(500, "No cluster leader"), "hangs": hang(), "429": too_many("8")}
    nomad.fault(faults.get(how, cut()))
    subject = start(supervise, one, TTL="1s")
    with Traffic(subject.port, every=0.05, seconds=60) as traffic:
        subject.wait_for_log("job.stop_requested")
        asked = time.monotonic()
        eventually(lambda: time.monotonic() > asked + 20, 25, 0.1)

    assert 0 == subject.wait(20)
    assert 25 < run_time(subject) < 33
    assert [] == traffic.failures
    assert 1 == len(subject.log_lines("job.not_stopped"))
    assert 1 == len([line for line in subject.logs if line["level"] == "warning"])
    assert len(subject.log_lines("job.stop_retry")) in range(3, 11)
    assert {"away": 0, "429": 4}.get(how, len(stops(nomad))) == len(stops(nomad))


def test_a_question_under_way_is_no_hindrance(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A Nomad that hangs holds neither the requests nor the stop signal.
    """
    (one,) = replicas("one")
    nomad.fault(hang())
    subject = start(supervise, one, TTL="1s")
    eventually(lambda: stops(nomad))
    assert 200 == subject.get().status
    began = time.monotonic()
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(5)
    assert time.monotonic() - began < 2
    assert subject.ended
    assert "deadline" == subject.ended["reason"]


# ---------------------------------------------------------------------- a start past the deadline


def restarted(supervise: Supervise, folder: Path, **options: str) -> Supervised:
    """
    Start it a minute after the deadline that an earlier start recorded.
    """
    past = time.time() - 60
    told = {"TTL": "2h", "AT_DEADLINE": "stop-job", "NOMAD_JOB_ID": JOB, **options}
    folder = folder / "state"
    return supervise(
        pid1=False,
        STATE_DIR=write_record(folder, first_start=past - 7200, deadline=past),
        **told,
    )


def test_a_restart_past_the_deadline_asks_once_more(
    supervise: Supervise, nomad: FakeNomad, tmp_path: Path
) -> None:
    """
    One question, nothing opened and nothing started, exit code 0.
    """
    nomad.add("web", "10.0.0.1", 80, job=JOB)
    subject = restarted(supervise, tmp_path)

    assert 0 == subject.wait(5)
    assert 1 == len(stops(nomad))
    assert 1 == len(subject.log_lines("job.stop_accepted"))
    assert [] == subject.log_lines("nginx.found") + subject.log_lines("nginx.started")
    assert not (subject.home / "run").exists()
    assert subject.ended
    assert "deadline passed before this start" == subject.ended["reason"]


@pytest.mark.parametrize("how", ["hangs", "away", "403"])
def test_that_question_takes_half_a_second_at_most(
    supervise: Supervise, nomad: FakeNomad, tmp_path: Path, how: str
) -> None:
    """
    Whatever Nomad does: said once, with the policy, and exit code 0.
    """
    if how == "hangs":
        nomad.fault(hang())
    if how == "away":
        nomad.stop()
    nomad.acl = how == "403"
    subject = restarted(supervise, tmp_path)

    assert 0 == subject.wait(5)
    (said,) = subject.log_lines("job.not_stopped")
    reasons = {"hangs": "no answer within 0.5s", "away": "nobody listens at Nomad's address"}
    assert reasons.get(how, "Nomad wants a token (403)") == said["reason"]
    assert "deregister-job" in said["policy"]
    first, last = (datetime.fromisoformat(subject.logs[i]["time"]) for i in (0, -1))
    assert (last - first).total_seconds() < 1.0
    assert len(stops(nomad)) == (0 if how == "away" else 1)


def test_a_defect_of_ours_is_an_answer_too(supervise: Supervise, tmp_path: Path) -> None:
    """
    A job's ID that no URL can hold breaks the question, and not the end.
    """
    subject = restarted(supervise, tmp_path, NOMAD_JOB_ID="\udcff")

    assert 0 == subject.wait(5)
    (said,) = subject.log_lines("job.not_stopped")
    assert "internal error: UnicodeEncodeError" == said["reason"]
