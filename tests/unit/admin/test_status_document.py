"""
The document of /status, built from the states of simulated runs.
"""

import json
import signal
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from supervisor.admin.status_document import MAX_ROWS, Observation, document
from supervisor.core import probe_outcome
from supervisor.core.events import (
    ChildExited,
    DeadlineRequested,
    DiscoveryFailed,
    Disk,
    Event,
    HealthChanged,
    JobVariableFailed,
    JobVariableRead,
    SignalArrived,
    SnapshotArrived,
    StateSaved,
    StopRequested,
    WorkerDied,
    WriteOverdue,
)
from supervisor.core.job_deadline import JobVariable
from supervisor.core.model import ChildKind, Endpoint, HealthState, Origin, ServerOptions
from supervisor.core.probe_outcome import ProbeReport
from supervisor.core.stats import MAX_RELOADS
from tests.support.checkout import CHECKOUT
from tests.support.policy_simulation import (
    SOURCE,
    WALL,
    FakeSystem,
    Simulation,
    endpoints,
    snapshot,
)

SCHEMA = Draft202012Validator(json.loads((CHECKOUT / "docs" / "status.schema.json").read_text()))
SAMPLES: dict[str, Any] = {
    "every": 5.0, "at": [], "ready": [], "requests_per_second": [], "connections": [],
}  # fmt: skip


def status(
    play: Simulation,
    *,
    current: bool = True,
    is_running: bool = True,
    probes: Mapping[Endpoint, ProbeReport] | None = None,
) -> dict[str, Any]:
    """
    Return the current status document after validating it against the schema.
    """
    wall = play.wall + play.now - 1000.0
    observation = Observation(
        play.now,
        wall,
        current,
        lambda _: is_running,
        "1.2.3",
        "3.11.0",
        is_counting=False,
        probes=lambda _: probes or {},
    )
    found: dict[str, Any] = json.loads(json.dumps(document(play.state, observation, SAMPLES)))
    SCHEMA.validate(found)
    return found


def kinds(found: dict[str, Any]) -> list[str]:
    """
    Return the kinds of the warnings.
    """
    return [warning["kind"] for warning in found["warnings"]]


EVENTS = st.sampled_from(
    [
        snapshot(),
        snapshot(1),
        snapshot(1, 2, 3),
        snapshot(confirmed=False),
        SnapshotArrived(
            SOURCE, endpoints(4), server_options={endpoints(4)[0]: ServerOptions(3, backup=True)}
        ),
        DiscoveryFailed(SOURCE, "away", 1.0),
        HealthChanged({endpoints(1)[0]: HealthState.FAILING}),
        HealthChanged({endpoints(1)[0]: HealthState.READY}),
        HealthChanged({endpoints(2)[0]: HealthState.SLOW}),
        DeadlineRequested(1, 0.0, 3600.0),
        DeadlineRequested(2, 0.0, -1e9),
        StopRequested(3),
        StateSaved("the disk is full"),
        WorkerDied("worker process 7 exited on signal 9"),
        SignalArrived(signal.SIGHUP),
        SignalArrived(signal.SIGTERM),
    ]
)


@hypothesis(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(EVENTS, st.sampled_from([0.0, 0.05, 3.0, 400.0])), max_size=12),
    st.sampled_from(["1h", "never", "10m"]),
    st.sampled_from(["tcp", "off"]),
    st.booleans(),
)
def test_the_document_always_matches_its_schema(
    events: list[tuple[Event, float]],
    ttl: str,
    check: str,
    broken: bool,  # noqa: FBT001
) -> None:
    """
    In every phase of a run: starting, serving, failing, draining and ended.
    """
    world = FakeSystem(check_code=1, check_output="no such directive") if broken else FakeSystem()
    play = Simulation({"TTL": ttl, "HEALTH_CHECK": check, "MAX_TTL": "3h"}, system=world)
    status(play)
    for event, pause in events:
        if play.exit is None:
            play.send(event)
            status(play)
            play.run(pause)
            status(play, current=False, is_running=False)


def test_a_healthy_run_has_no_warnings() -> None:
    """
    The document of a healthy service has these values.
    """
    found = status(Simulation({"TTL": "3h", "HEALTH_CHECK": "tcp"}).serve(1, 2))

    assert [] == found["warnings"]
    assert ("running", "serve", True, True) == tuple(
        found[name] for name in ("phase", "mode", "healthy", "ready")
    )
    assert "2027-01-15T11:00:00.000Z" == found["deadline"]["at"]
    assert 3 * 3600 - 1.0 == found["deadline"]["remaining"]
    assert "nomad:web" == found["sources"][0]["name"]
    assert (2, 2) == (found["endpoints"]["known"], found["endpoints"]["serving"])
    row = found["endpoints"]["rows"][0]
    assert ("10.0.0.1:1", "ready", True) == (row["address"], row["health"], row["serving"])
    assert "2027-01-15T08:00:00.026Z" == row["since"]
    (reload,) = found["reloads"]["last"]
    assert ("applied", "first start", 2) == (reload["result"], reload["why"], reload["endpoints"])


@pytest.mark.parametrize(
    "event, kind",
    [
        (DiscoveryFailed(SOURCE, "away", 1.0), "discovery_failing"),
        (StateSaved("full"), "not_saved"),
        (WriteOverdue(Disk.CONFIG, "stage the configuration"), "disk_overdue"),
        (HealthChanged(dict.fromkeys(endpoints(1, 2), HealthState.FAILING)), "endpoints_remark"),
        (snapshot(), "nobody_ready"),
        (DeadlineRequested(1, 0.0, -2.5 * 3600), "deadline_near"),
    ],
)
def test_a_problem_is_a_warning(event: Event, kind: str) -> None:
    """
    Each problem is one warning of its kind while it lasts.
    """
    play = Simulation({"TTL": "3h", "HEALTH_CHECK": "tcp"}).serve(1, 2)
    play.send(event)
    play.run(2.0)

    assert [kind] == kinds(status(play))


def test_a_failing_source_has_its_reason() -> None:
    """
    As the log has it.
    """
    play = Simulation({"TTL": "3h"}).serve(1)
    play.send(DiscoveryFailed(SOURCE, "Nomad is away", 1.0))
    (warning,) = status(play)["warnings"]

    assert ": Nomad is away; keeping 1 endpoints" in warning["text"]


def test_a_remark_on_the_operators_files_is_a_warning() -> None:
    """
    It lasts until a configuration is staged without it.
    """
    play = Simulation({"TTL": "3h"}, system=FakeSystem(file_warnings=("on our port",))).serve(1)
    assert [{"kind": "files_remark", "text": "on our port"}] == status(play)["warnings"]

    play.system = FakeSystem()
    play.serve(1, 2)
    assert [] == status(play)["warnings"]


def test_a_refused_configuration_is_reported_with_its_reason() -> None:
    """
    The warning contains nginx's message and lasts until a configuration is accepted.
    """
    play = Simulation({"TTL": "3h"}).serve(1)
    play.system = FakeSystem(check_code=1, check_output="no such directive")
    play.send(snapshot(1, 2))
    play.run(0.5)
    found = status(play)

    assert ["reload_failed"] == kinds(found)
    assert "no such directive" in found["warnings"][0]["text"]
    latest = found["reloads"]["last"][0]
    assert ("refused", "1 endpoint added", "no such directive", 1) == tuple(
        latest[name] for name in ("result", "why", "reason", "endpoints")
    )
    play.system = FakeSystem()
    play.run(60.0)
    assert [] == kinds(status(play))


def test_an_unresponsive_nginx_is_reported() -> None:
    """
    The warning appears when nginx's master exits and disappears when nginx responds again.
    """
    play = Simulation({"TTL": "3h"}).serve(1)
    play.system = FakeSystem(boot_time=0.5)
    play.send(ChildExited(play.state.master.pid, ChildKind.MASTER, 139))
    found = status(play)

    assert ["nginx_silent"] == kinds(found)
    assert (False, "down", None, 1) == (
        found["healthy"],
        found["nginx"]["health"],
        found["nginx"]["pid"],
        found["nginx"]["restarts"],
    )
    play.run(3.0)
    assert [] == kinds(status(play))
    assert "nginx exited or stopped responding" == status(play)["reloads"]["last"][0]["why"]


def test_a_stuck_loop_is_the_first_warning() -> None:
    """
    A stale status is neither healthy nor ready.
    """
    found = status(Simulation({"TTL": "3h"}).serve(1), current=False)

    assert ["loop_stuck"] == kinds(found)
    assert (False, False, False) == (found["current"], found["healthy"], found["ready"])


def test_a_waiting_reload_and_draining_generations_are_reported() -> None:
    """
    Old generations are listed while their processes run.
    """
    play = Simulation({"TTL": "3h", "MAX_DRAINING": "1"}).serve(1)
    for number, port in enumerate((2, 3, 4)):
        play.system.workers |= frozenset({10 * number + 1, 10 * number + 2})
        play.send(snapshot(1, *range(2, port + 1)))
        play.run(3.0)
    found = status(play)

    assert "reload_waits" in kinds(found)
    assert "MAX_DRAINING" in found["reloads"]["waiting"]
    assert [{"workers": 2, "told": False}] == found["nginx"]["draining"]
    assert [] == status(play, is_running=False)["nginx"]["draining"]


def test_the_shutdown_is_reported() -> None:
    """
    Its reason, its start and the time until it completes.
    """
    play = Simulation({"TTL": "3h"}, system=FakeSystem(effective_signals=frozenset())).serve(1)
    play.send(SignalArrived(signal.SIGTERM))
    play.run(1.0)
    found = status(play)

    assert "draining" == found["phase"]
    assert ("stop signal", 3.0) == (found["ending"]["reason"], found["ending"]["gone_within"])


def test_the_rows_are_limited_and_failing_endpoints_come_first() -> None:
    """
    With thousands of endpoints, those that are not ready are always listed; the rest is counted.
    """
    many = tuple(Endpoint(f"10.1.{n // 250}.{n % 250 + 1}", 80) for n in range(MAX_ROWS + 500))
    play = Simulation({"TTL": "3h", "HEALTH_CHECK": "tcp"})
    play.send(SnapshotArrived(SOURCE, many))
    play.run(1.0)
    play.send(HealthChanged({many[-1]: HealthState.FAILING}))
    found = status(play)["endpoints"]

    assert (MAX_ROWS + 500, MAX_ROWS, 500) == (found["known"], len(found["rows"]), found["omitted"])
    (row,) = [row for row in found["rows"] if row["health"] != "ready"]
    assert (str(many[-1]), "failing") == (row["address"], row["health"])


def test_only_the_last_reloads_are_kept() -> None:
    """
    They are listed newest first.
    """
    play = Simulation({"TTL": "3h"}).serve(1)
    for port in range(2, MAX_RELOADS + 10):
        play.send(snapshot(1, port))
        play.run(5.0)
    found = status(play)["reloads"]

    assert MAX_RELOADS == len(found["last"])
    assert MAX_RELOADS + 9 == found["applied"]
    assert "1 endpoint added, 1 endpoint removed" == found["last"][0]["why"]
    assert found["last"][0]["at"] > found["last"][1]["at"]


@pytest.mark.parametrize(
    "settings, served",
    [
        ({"SERVICE_NAME": "web,other"}, "web,other"),
        ({"SERVICE_NAME": "", "ENDPOINTS": "10.0.0.1:80"}, "10.0.0.1:80"),
        ({"SERVICE_NAME": "", "ENDPOINTS_FILE": "/x"}, "/x"),
    ],
)
def test_the_service_is_named_as_in_the_settings(settings: dict[str, str], served: str) -> None:
    """
    By the service names, the endpoints or the file.
    """
    assert served == status(Simulation(settings))["service"]


def test_server_options_and_leaving_endpoints_are_reported() -> None:
    """
    A row contains the options from the tags, and whether the endpoint is no longer listed.
    """
    play = Simulation({"TTL": "3h", "HEALTH_CHECK": "tcp"}).serve(1)
    play.system.endpoints_ready = False
    (other,) = endpoints(2)
    play.send(
        SnapshotArrived(SOURCE, (other,), server_options={other: ServerOptions(3, drain=True)})
    )
    play.run(1.0)
    leaving, new = status(play)["endpoints"]["rows"]

    assert (True, True) == (leaving["leaving"], leaving["serving"])
    assert (False, "starting", 3, True) == tuple(
        new[name] for name in ("serving", "health", "weight", "drain")
    )


def test_an_endpoint_that_is_not_ready_has_its_last_probe_and_later_a_warning() -> None:
    """
    The row has the outcome, its time and the next step at once; after 30 s there is one warning for
    each cause, which names one endpoint and counts the others.
    """
    play = Simulation(
        {"TTL": "3h", "HEALTH_CHECK": "http"}, system=FakeSystem(endpoints_ready=False)
    ).serve(1, 2, 3)
    report = ProbeReport(probe_outcome.responded(404, is_accepted=False), 0.5)
    probes = dict.fromkeys(endpoints(1, 2), report)
    found = status(play, probes=probes)
    first, _, last = found["endpoints"]["rows"]

    assert ("HTTP 404", "2027-01-15T08:00:00.500Z") == (
        first["last_probe"]["outcome"],
        first["last_probe"]["at"],
    )
    assert "HEALTH_PATH" in first["last_probe"]["hint"]
    assert last["last_probe"] is None
    assert "not_ready" not in kinds(found)
    play.run(30)
    (warning,) = [
        each["text"]
        for each in status(play, probes=probes)["warnings"]
        if each["kind"] == "not_ready"
    ]
    assert warning.startswith("10.0.0.1:1 and 1 more not ready: HTTP 404; ")


def test_no_secret_is_in_the_document() -> None:
    """
    S05: the only setting in the document is the service.
    """
    play = Simulation({"NOMAD_TOKEN": "s3cr3t-t0ken", "TTL": "3h"}).serve(1)

    assert "s3cr3t" not in json.dumps(status(play))


def test_each_row_has_the_origin_of_its_endpoint() -> None:
    """
    The allocation, node and job of the latest answer; null where the source has none.
    """
    one, two = endpoints(1, 2)
    play = Simulation().serve(1, 2)
    origins = {one: Origin("a", "n", "j"), two: Origin("", "", "j")}
    play.send(SnapshotArrived(SOURCE, (one, two), origins=origins))

    def found() -> list[tuple[str | None, ...]]:
        rows = status(play)["endpoints"]["rows"]
        return [tuple(row[name] for name in ("allocation", "node", "job")) for row in rows]

    assert [("a", "n", "j"), (None, None, "j")] == found()
    play.send(SnapshotArrived(SOURCE, (one, two), origins={one: Origin("b", "n", "j")}))
    assert [("b", "n", "j"), (None, None, None)] == found()


def test_the_instance_is_where_the_supervisor_runs() -> None:
    """
    With the command that reaches it; all null outside of Nomad.
    """
    assert {None} == set(status(Simulation().serve(1))["instance"].values())
    nomad = {"NOMAD_ALLOC_ID": "5ec6", "NOMAD_TASK_NAME": "nginx", "NOMAD_JOB_NAME": "lb"}
    found = status(Simulation(nomad).serve(1))
    assert {
        "allocation": "5ec6",
        "task": "nginx",
        "job": "lb",
        "command": "nomad alloc exec -task nginx 5ec6 autoexit-nginx",
    } == found["instance"]


def test_who_moved_the_deadline() -> None:
    """
    The variable of the job, a value typed by hand, or a request for this balancer alone; what is
    wrong with the variable is a warning.
    """
    access = {"NOMAD_JOB_ID": "lb", "NOMAD_ADDR": "http://nomad:4646"}
    play = Simulation({"DEADLINE": "2027-01-15T10:00:00Z", **access}).serve(1)
    found = status(play)["deadline"]
    assert (None, "nomad/jobs/lb", None) == (
        found["moved_by"],
        found["job"]["variable"],
        found["job"]["read_at"],
    )
    by_extend = JobVariable(3, WALL + 1, "2027-01-15T11:00:00Z", "", "extend")
    for variable, by in ((by_extend, "extend"), (by_extend._replace(moved_by=""), "hand")):
        play.send(JobVariableRead(variable, WALL + 1))
        assert by == status(play)["deadline"]["moved_by"]
    play.send(JobVariableRead(by_extend._replace(modify_index=4, deadline="soon"), WALL + 1))
    assert ["deadline_not_moved"] == kinds(status(play))
    play.send(JobVariableRead(by_extend, WALL + 1))
    play.send(JobVariableFailed("refused"))
    assert ["deadline_not_followed"] == kinds(status(play))
    play.send(JobVariableFailed("denied", is_denied=True))
    assert [] == kinds(status(play))
    assert "denied" == status(play)["deadline"]["job"]["error"]
    play.send(DeadlineRequested(1, WALL + 1, 3600.0, only_balancer=True))
    assert "only-balancer" == status(play)["deadline"]["moved_by"]
