"""
AT_DEADLINE=stop-job with a Nomad that accepts, rejects, responds wrongly, hangs or is unreachable.

Endpoints are static here, so that the only request to Nomad is the stop.
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
    Return a client of this Nomad.
    """
    settings = {"SERVICE_NAME": "web", "NOMAD_ADDR": nomad.address, "NOMAD_TOKEN": TOKEN, **environ}
    return JobStopRequest(load.read(settings, lambda _: True), lambda _: None)


def stop_error(client: JobStopRequest, job: str = JOB) -> NomadError:
    """
    Return the error of a job stop.
    """
    with pytest.raises(NomadError) as error:
        client.stop(job)
    client.close()
    return error.value


def start(supervise: Supervise, replica: Replica, **options: str) -> Supervised:
    """
    Start the program with AT_DEADLINE=stop-job, and return it once it serves the replica.
    """
    settings: dict[str, str | None] = {
        "SERVICE_NAME": None,
        "ENDPOINTS": f"127.0.0.1:{replica.port}",
        "AT_DEADLINE": "stop-job",
        "NOMAD_JOB_ID": JOB,
        "NOMAD_TOKEN": TOKEN,
        "START_WAIT": "5s",
        "LOG_LEVEL": "debug",
        **options,
    }
    subject = supervise(pid1=False, **settings)
    subject.ready(status=200)
    return subject


def stops(nomad: FakeNomad) -> list[Request]:
    """
    Return all DELETE requests.
    """
    return [request for request in nomad.requests if request.method == "DELETE"]


# ----------------------------------------------------------------------------------- the request


def test_a_job_is_stopped_by_its_whole_id(nomad: FakeNomad) -> None:
    """
    The ID of a dispatched job contains a slash; namespace and region are sent, and nothing is
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


def test_an_unknown_job_is_an_error(nomad: FakeNomad) -> None:
    """
    Nomad responds with 200, and only the empty EvalID shows that no job is stopped.
    """
    nomad.add("web", "10.0.0.1", 80, job=JOB, namespace="ml")
    error = stop_error(client_of(nomad))

    assert 200 == error.status
    assert f"job '{JOB}' not found in namespace 'default'" == error.reason


def test_a_job_is_stopped_over_the_task_api(tmp_path: Path) -> None:
    """
    The socket requires a token: without one the reason names the two missing lines.
    """
    with FakeNomad(tmp_path / "api.sock", acl=True) as nomad:
        nomad.add("web", "10.0.0.1", 80, job=JOB)
        address = nomad.unix_address
        assert 403 == stop_error(client_of(nomad, NOMAD_ADDR=address)).status
        assert (
            "`identity`" in stop_error(client_of(nomad, NOMAD_ADDR=address, NOMAD_TOKEN="")).reason
        )
        nomad.rights = {"deregister-job"}
        client = client_of(nomad, NOMAD_ADDR=address)
        client.stop(JOB)
        client.close()

    assert {"unix"} == {request.via for request in nomad.requests}


def test_the_tls_settings_apply(tmp_path: Path) -> None:
    """
    A Nomad with a certificate of an unknown CA gets no request, so no token.
    """
    authority = Authority(tmp_path, "ours")
    with FakeNomad(tls=lambda: authority.server("127.0.0.1")) as nomad:
        nomad.add("web", "10.0.0.1", 80, job=JOB)
        assert "signed by an unknown CA; set NOMAD_CACERT" in stop_error(client_of(nomad)).reason
        assert [] == nomad.requests
        client = client_of(nomad, NOMAD_CACERT=str(authority.file))
        client.stop(JOB)
        client.close()

    assert 1 == len(stops(nomad))


def test_a_token_that_was_replaced_is_read_again(nomad: FakeNomad, tmp_path: Path) -> None:
    """
    A rejected token is read again, and the request repeated if it has changed.
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
def test_a_redirect_is_not_followed(nomad: FakeNomad, code: int) -> None:
    """
    A redirect could stop another job with our token: it is an error.
    """
    nomad.add("web", "10.0.0.1", 80, job="another")
    nomad.fault(redirect(f"{nomad.address}/v1/job/another", code), times=1)
    error = stop_error(client_of(nomad))

    assert code == error.status
    assert "which is not valid for this request" in error.reason
    assert 1 == len(nomad.requests)


@pytest.mark.parametrize(
    "fault, code, reason",
    [
        (status(500, "No cluster leader"), 500, "Nomad returned status 500"),
        (status(500, "No path to region"), 500, "Nomad returned status 500"),
        (status(404), 404, "Nomad returned status 404"),
        (too_many("7"), 429, "too many connections"),
        (cut(), None, "connection to Nomad at ADDRESS failed"),
        (truncated(), None, "connection to Nomad at ADDRESS failed"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), None, "connection to Nomad at ADDRESS failed"),
        (huge(), None, "longer than 65536 bytes"),
    ],
    ids=["no leader", "no region", "404", "429", "cut", "truncated", "no http", "huge"],
)
def test_a_failed_request_has_a_reason(
    nomad: FakeNomad, fault: Fault, code: int | None, reason: str
) -> None:
    """
    Each failure has one reason, safe to log, and the status of the response if there was one.
    """
    nomad.fault(fault)
    error = stop_error(client_of(nomad))

    assert code == error.status
    assert reason.replace("ADDRESS", nomad.address) in error.reason
    assert (7.0 if code == 429 else None) == error.retry_after


def test_a_response_is_read_only_up_to_the_limit(nomad: FakeNomad) -> None:
    """
    The connection is closed when a response is too long, long before 100 MB are in memory.
    """
    sent: list[int] = []

    def play(exchange: Exchange) -> None:
        exchange.write(Reply(headers={"Content-Length": str(100 * MEGABYTE)}).head())
        for number in range(100):
            exchange.write(b" " * MEGABYTE)
            sent.append(number)

    nomad.fault(play)
    stop_error(client_of(nomad))

    assert len(sent) < 20  # what the kernel buffers


@pytest.mark.parametrize("name", [*GARBAGE, "another type"])
def test_garbage_is_no_confirmation(nomad: FakeNomad, name: str) -> None:
    """
    Only an EvalID confirms that the job stops.
    """
    nomad.fault(body({**GARBAGE, "another type": b'{"EvalID": 7}'}[name]))
    error = stop_error(client_of(nomad))

    assert error.status is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault, limit", [(hang(), 6), (body_drip(0.5), 16)], ids=["hangs", "drips"]
)
def test_every_response_has_a_time_limit(nomad: FakeNomad, fault: Fault, limit: float) -> None:
    """
    A response must start within 5 s, and be complete within 15 s.
    """
    nomad.add("web", "10.0.0.1", 80, job=JOB)
    nomad.fault(fault)
    started_at = time.monotonic()

    where = f"Nomad at {nomad.address} (NOMAD_ADDR)"
    reason = f"timed out before the response of {where} was complete"
    assert reason == stop_error(client_of(nomad)).reason
    assert time.monotonic() - started_at < limit


# ----------------------------------------------------------------------------------- the program


def test_it_serves_until_nomad_stops_it(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    Between the job stop and the signal no request fails, READY_PATH returns 503 and the Sunset
    header stays; then the program exits with 0, because of the deadline.
    """
    (one,) = replicas("one")
    nomad.add("web", "10.0.0.1", 80, job=JOB)
    subject = start(supervise, one, TTL="2s")
    sunset = subject.get().headers["Sunset"]
    with Traffic(subject.port, every=0.01) as traffic:
        subject.wait_for_log("job.stop_accepted", tries=1)
        eventually(lambda: 503 == subject.get("/-/ready").status)
        answer = subject.get()
        stopped_at = time.monotonic()
        eventually(lambda: time.monotonic() > stopped_at + 1)
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


def test_without_the_permission_it_exits_alone(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    With ACLs and no policy: one request, one warning with the policy to apply, exit code 0 on time.
    """
    (one,) = replicas("one")
    nomad.acl = True
    nomad.add("web", "10.0.0.1", 80, job=JOB)
    subject = start(supervise, one, TTL="2s")

    assert 0 == subject.wait(10)
    assert run_time(subject) < 3.5
    assert 1 == len(stops(nomad))
    (line,) = subject.log_lines("job.not_stopped", level="warning")
    assert "Nomad rejected the token (403)" == line["reason"]
    assert "deregister-job" in line["policy"]
    assert "-job fit NAME" in line["apply"]
    assert subject.ended
    assert ("deadline", True) == (subject.ended["reason"], subject.ended["ended_alone"])


def test_an_api_that_comes_back_stops_the_job(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    While an agent restarts at the deadline the request is retried, and requests are still served.
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
def test_an_unreachable_api_is_one_warning(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, how: str
) -> None:
    """
    Requests are retried with growing pauses for half a minute; then one warning, exit code 0.
    """
    (one,) = replicas("one")
    if how == "away":
        nomad.stop()
    faults = {"500": status(500, "No cluster leader"), "hangs": hang(), "429": too_many("8")}
    nomad.fault(faults.get(how, cut()))
    subject = start(supervise, one, TTL="1s")
    with Traffic(subject.port, every=0.05, seconds=60) as traffic:
        subject.wait_for_log("job.stop_requested")
        stopped_at = time.monotonic()
        eventually(lambda: time.monotonic() > stopped_at + 20, 25, 0.1)

    assert 0 == subject.wait(20)
    assert 25 < run_time(subject) < 33
    assert [] == traffic.failures
    assert 1 == len(subject.log_lines("job.not_stopped"))
    assert 1 == len([line for line in subject.logs if line["level"] == "warning"])
    assert len(subject.log_lines("job.stop_retry")) in range(3, 11)
    assert {"away": 0, "429": 4}.get(how, len(stops(nomad))) == len(stops(nomad))


def test_a_stop_request_in_progress_does_not_block(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    A Nomad that hangs delays neither requests nor the stop signal.
    """
    (one,) = replicas("one")
    nomad.fault(hang())
    subject = start(supervise, one, TTL="1s")
    eventually(lambda: stops(nomad))
    assert 200 == subject.get().status
    started_at = time.monotonic()
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(5)
    assert time.monotonic() - started_at < 2
    assert subject.ended
    assert "deadline" == subject.ended["reason"]


# ---------------------------------------------------------------------- a start past the deadline


def restarted(supervise: Supervise, folder: Path, **options: str) -> Supervised:
    """
    Start the program a minute after the deadline recorded by an earlier start.
    """
    past = time.time() - 60
    settings = {"TTL": "2h", "AT_DEADLINE": "stop-job", "NOMAD_JOB_ID": JOB, **options}
    folder = folder / "state"
    return supervise(
        pid1=False,
        STATE_DIR=write_record(folder, first_start=past - 7200, deadline=past),
        **settings,
    )


def test_a_restart_past_the_deadline_requests_the_stop_once(
    supervise: Supervise, nomad: FakeNomad, tmp_path: Path
) -> None:
    """
    One request, no listener and no nginx, exit code 0.
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
def test_that_request_takes_half_a_second_at_most(
    supervise: Supervise, nomad: FakeNomad, tmp_path: Path, how: str
) -> None:
    """
    Any failure is logged once, with the policy, and the exit code is 0.
    """
    if how == "hangs":
        nomad.fault(hang())
    if how == "away":
        nomad.stop()
    nomad.acl = how == "403"
    subject = restarted(supervise, tmp_path)

    assert 0 == subject.wait(5)
    (line,) = subject.log_lines("job.not_stopped")
    reasons = {
        "hangs": "no response within 0.5s",
        "away": f"connection to Nomad at {nomad.address} refused: nothing listens there"
        " (NOMAD_ADDR)",
    }
    assert reasons.get(how, "Nomad requires a token (403)") == line["reason"]
    assert "deregister-job" in line["policy"]
    first, last = (datetime.fromisoformat(subject.logs[i]["time"]) for i in (0, -1))
    assert (last - first).total_seconds() < 1.0
    assert len(stops(nomad)) == (0 if how == "away" else 1)


def test_an_internal_error_is_a_failed_request(supervise: Supervise, tmp_path: Path) -> None:
    """
    A job ID that cannot be encoded in a URL breaks the request, and not the shutdown.
    """
    subject = restarted(supervise, tmp_path, NOMAD_JOB_ID="\udcff")

    assert 0 == subject.wait(5)
    (line,) = subject.log_lines("job.not_stopped")
    assert "internal error: UnicodeEncodeError" == line["reason"]
