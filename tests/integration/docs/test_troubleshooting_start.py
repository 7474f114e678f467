"""
Scenarios of docs/troubleshooting.md: it does not start, and how it ends.

Each scenario makes the mistake of a row; what the page quotes must be reported.
"""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.control_groups import control_group
from tests.support.fake_nomad import TOKEN
from tests.support.hanging_disk import HangingDisk, why_no_hanging_disk
from tests.support.held_connection import HeldConnection
from tests.support.subjects import RUN, Ours
from tests.support.troubleshooting import (
    Scenario,
    Scenarios,
    Seen,
    Stage,
    in_folder,
    rows,
    shown,
    verify,
)

scenarios = Scenarios()


def test_every_row_has_a_scenario_and_every_scenario_a_row() -> None:
    """
    In one of the tiers.  Each row quotes something.
    """
    assert sorted(rows()) == sorted(shown())
    assert [] == [row.symptom for row in rows().values() if not row.quotes]


@scenarios.shows("78, a setting is invalid")
def invalid_setting(stage: Stage) -> Seen:
    """A duration in words."""
    return stage.start(TTL="24 hours")


@scenarios.shows("78, a valid value with quotes around it")
def quoted_value(stage: Stage) -> Seen:
    """As `docker run --env-file` passes it."""
    return stage.start(SERVICE_NAME='"web"')


@scenarios.shows("78, a value with `${…}` in it")
def unreplaced_variable(stage: Stage) -> Seen:
    """A label that the group does not have."""
    subject = stage.prepare()
    subject.settings["LISTEN_PORT"] = "${NOMAD_PORT_web}"
    return Seen(subject.start())


@scenarios.shows("78, nothing to serve is set")
def nothing_to_serve(stage: Stage) -> Seen:
    """A typing error in the name of the variable."""
    return stage.start(SERVICE_NAME=None, SERVICE_NAM="web")


@scenarios.shows("78, a file of yours in `conf.d` or `server.d`")
def broken_file(stage: Stage) -> Seen:
    """A semicolon is missing."""
    subject = stage.prepare(ENDPOINTS=endpoint(stage))
    subject.write_in("conf.d", "mine.conf", "server { listen 81 }\n")
    return Seen(subject.start())


@scenarios.shows("78, a `location /` in `server.d`")
def second_root(stage: Stage) -> Seen:
    """An attempt to replace `proxy_pass`."""
    subject = stage.prepare(ENDPOINTS=endpoint(stage))
    subject.write_in("server.d", "mine.conf", "location / { proxy_pass http://127.0.0.1:9; }\n")
    return Seen(subject.start())


@scenarios.shows("78, an entrypoint script failed")
def failed_script(stage: Stage) -> Seen:
    """It exits with 3."""
    subject = stage.prepare(ENDPOINTS=endpoint(stage))
    in_folder(subject.home / "entrypoint" / "10-mine.sh", "#!/bin/sh\nexit 3\n")
    return Seen(subject.start())


@scenarios.shows("78, the port is below 1024")
def privileged_port(stage: Stage) -> Seen:
    """Without the capability, as a container with `--cap-drop ALL`."""
    if os.geteuid() != 0:
        pytest.skip("only root can drop the capability of root")
    drop = ("setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service")
    nomad = stage.nomad()
    subject = Ours(nomad, command=(*drop, *RUN))
    return stage.start(nomad, subject=subject, ENDPOINTS=endpoint(stage), LISTEN_PORT="911")


@scenarios.shows("78, `LISTEN_ADDRESS` is of another machine")
def foreign_address(stage: Stage) -> Seen:
    """An address of documentation."""
    return stage.start(ENDPOINTS=endpoint(stage), LISTEN_ADDRESS="192.0.2.7")


@scenarios.shows("78, `STICKY=cookie` with an old nginx")
def old_nginx(stage: Stage) -> Seen:
    """The distribution's."""
    return stage.start(ENDPOINTS=endpoint(stage), STICKY="cookie", NGINX_BINARY="nginx")


@scenarios.shows("78, two balancers share a folder")
def shared_folder(stage: Stage) -> Seen:
    """The same STATE_DIR."""
    first = stage.start(ENDPOINTS=endpoint(stage))
    first.subject.wait_for_log("nginx.ready")
    return stage.start(ENDPOINTS=endpoint(stage), STATE_DIR=str(first.subject.home / "state"))


@scenarios.shows("78, a disk that does not respond")
def hanging_folder(stage: Stage) -> Seen:
    """That of the operator's files: no access to it returns."""
    subject = stage.prepare(ENDPOINTS=endpoint(stage), START_TIMEOUT="1s")
    hang(stage, subject.home / "operator" / "conf.d")
    return Seen(subject.start())


@scenarios.shows("69, the port is in use", slow=True)
def port_in_use(stage: Stage) -> Seen:
    """Another server listens."""
    port = str(stage.replica("other").port)
    return stage.start(ENDPOINTS=endpoint(stage), LISTEN_PORT=port, START_TIMEOUT="4s")


@scenarios.shows("69, the limit of processes is too low")
def few_processes(stage: Stage) -> Seen:
    """Threads of the supervisor start, nginx does not."""
    group = stage.stack.enter_context(control_group("pids"))
    nomad = stage.nomad()
    group.limit(9)
    return stage.start(nomad, subject=group.around(nomad), ENDPOINTS=endpoint(stage))


@scenarios.shows("127, no nginx")
def no_nginx(stage: Stage) -> Seen:
    """A typing error."""
    return stage.start(ENDPOINTS=endpoint(stage), NGINX_BINARY="nginxx")


@scenarios.shows("0 at once, the `DEADLINE` is old")
def old_deadline(stage: Stage) -> Seen:
    """Of another year."""
    return stage.start(ENDPOINTS=endpoint(stage), DEADLINE="2026-01-31T18:00:00Z")


@scenarios.shows("0 at once, again and again")
def started_again(stage: Stage) -> Seen:
    """After its lifetime, in the same STATE_DIR."""
    seen = stage.start(ENDPOINTS=endpoint(stage), TTL="500ms")
    assert 0 == seen.subject.wait()
    return Seen(seen.subject.start())


@scenarios.shows("it ended earlier than planned", slow=True)
def seconds_for_hours(stage: Stage) -> Seen:
    """TTL without a unit."""
    return stage.start(ENDPOINTS=endpoint(stage), TTL="3")


@scenarios.shows("a restart began a new lifetime")
def damaged_record(stage: Stage) -> Seen:
    """The record of the deadline is no JSON."""
    subject = stage.prepare(ENDPOINTS=endpoint(stage))
    in_folder(subject.home / "state" / "state.json", "{")
    return Seen(subject.start())


@scenarios.shows("requests were cut at the deadline")
def cut_request(stage: Stage) -> Seen:
    """A stream that is longer than DRAIN_TIMEOUT."""
    seen = stage.start(ENDPOINTS=endpoint(stage), TTL="700ms", DRAIN_TIMEOUT="200ms")
    seen.subject.ready(status=200)
    stage.stack.enter_context(HeldConnection.sse(seen.subject.port, seconds=30))
    assert 0 == seen.subject.wait()
    return seen


@scenarios.shows("137 at a stop")
def killed_drain(stage: Stage) -> Seen:
    """STOP_TIMEOUT is above Nomad's default."""
    seen = stage.start(ENDPOINTS=endpoint(stage), STOP_TIMEOUT="20s")
    seen.subject.ready(status=200)
    stage.stack.enter_context(HeldConnection.sse(seen.subject.port, seconds=30))
    seen.subject.signal(signal.SIGTERM)
    seen.subject.wait_for_log("draining")
    seen.subject.signal(signal.SIGKILL)
    assert 137 == seen.subject.wait()
    return seen


@scenarios.shows("137 at every stop, after ten seconds")
def under_a_shell(stage: Stage) -> Seen:
    """The shell is PID 1, and drops the signal."""
    command = ("sh", "-c", f"{sys.executable} -m supervisor run; echo after")
    nomad = stage.nomad()
    subject = Ours(nomad, command=command)
    seen = stage.start(nomad, pid1=True, subject=subject, ENDPOINTS=endpoint(stage))
    seen.subject.ready(status=200)
    seen.subject.signal(signal.SIGTERM)
    assert 200 == seen.subject.get().status
    return seen


@scenarios.shows("`OOM Killed`, or connections are cut")
def killed_worker(stage: Stage) -> Seen:
    """A worker is killed, as the kernel does for lack of memory."""
    seen = stage.start(ENDPOINTS=endpoint(stage))
    seen.subject.ready(status=200)
    os.kill(seen.subject.nginx_workers()[0], signal.SIGKILL)
    return seen


@scenarios.shows("the job runs on after the balancer's end")
def ended_alone(stage: Stage) -> Seen:
    """The replica has no deadline."""
    seen = stage.start(ENDPOINTS=endpoint(stage), TTL="500ms")
    assert 0 == seen.subject.wait()
    return seen


@scenarios.shows("`stop-job` does not stop the job")
def refused_stop(stage: Stage) -> Seen:
    """The token has no policy."""
    nomad = stage.nomad(acl=True)
    nomad.add("web", "10.0.0.1", 80, job="job")
    return stage.start(
        nomad,
        SERVICE_NAME=None,
        ENDPOINTS=endpoint(stage),
        AT_DEADLINE="stop-job",
        NOMAD_JOB_ID="job",
        NOMAD_TOKEN=TOKEN,
        TTL="500ms",
    )


def endpoint(stage: Stage) -> str:
    """
    Start a replica and return its address.
    """
    return f"127.0.0.1:{stage.replica().port}"


def hang(stage: Stage, folder: Path) -> None:
    """
    Let a folder hang until the end of the scenario.
    """
    if reason := why_no_hanging_disk(folder.parent / "tried"):
        pytest.skip(reason)
    stage.stack.enter_context(HangingDisk(folder))


@pytest.mark.parametrize("symptom, scenario", scenarios.params())
def test_a_row_is_what_is_reported(symptom: str, scenario: Scenario) -> None:
    """
    Its quotes are found where it says, and its commands run.
    """
    with Stage() as stage:
        verify(symptom, scenario(stage))
