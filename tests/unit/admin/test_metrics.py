"""
The metrics: their values, and Prometheus's rules for names and types.
"""

import re

import pytest

from supervisor.admin.metrics import exposition
from supervisor.admin.status_document import Observation
from supervisor.core.events import (
    ChildExited,
    DiscoveryFailed,
    JobVariableFailed,
    JobVariableRead,
    UseObserved,
    WorkerDied,
)
from supervisor.core.job_deadline import JobVariable
from supervisor.core.model import ChildKind
from tests.support.checkout import CHECKOUT
from tests.support.metrics_lint import OFFICIAL, complaints, families
from tests.support.policy_simulation import SOURCE, WALL, FakeSystem, Simulation, snapshot

ALERTS = CHECKOUT / "docs" / "monitoring" / "alerts.yml"

COUNTED = {
    "active": 3, "accepted": 70, "handled": 69, "requests": 500,
    "reading": 0, "writing": 1, "waiting": 2,
}  # fmt: skip


def scraped(play: Simulation, *, counted: bool = True) -> str:
    """
    Return the text of a scrape at this moment.
    """
    observation = Observation(
        now=play.now,
        wall=play.wall,
        current=True,
        is_running=lambda _: True,
        nginx="1.2.3",
        python="3.11.0",
        is_counting=counted,
        connections=COUNTED if counted else None,
    )
    return exposition(play.state, observation).decode()


def value(text: str, series: str) -> float:
    """
    Return the value of one series.
    """
    found = [line for line in text.splitlines() if line.startswith(f"{series} ")]
    assert 1 == len(found), f"{series} in\n{text}"
    return float(found[0].rpartition(" ")[2])


def eventful() -> Simulation:
    """
    Simulation a run in which every counted event has happened.
    """
    access = {"NOMAD_JOB_ID": "lb", "NOMAD_ADDR": "http://nomad:4646"}
    play = Simulation({"HEALTH_CHECK": "tcp", "MAX_DRAINING": "1", **access}).serve(1, 2)
    play.send(DiscoveryFailed(SOURCE, "it is away", 1.0))
    play.send(WorkerDied("worker process 7 exited on signal 9"))
    play.system = FakeSystem(check_code=1, check_output="no such directive")
    play.send(snapshot(1, 2, 3))
    play.run(1.0)
    play.system = FakeSystem()
    play.send(ChildExited(play.state.master.pid, ChildKind.MASTER, 139))
    return play.run(5.0)


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize(
    "play", [Simulation(), Simulation().serve(1, 2), eventful()], ids=["new", "up", "old"]
)
def test_a_scrape_follows_the_rules(play: Simulation, counted: bool) -> None:  # noqa: FBT001
    """
    Help, types, suffixes, units and labels as promtool requires; no series occurs twice.
    """
    assert [] == complaints(scraped(play, counted=counted))


@pytest.mark.parametrize(
    "bad",
    [
        "# HELP autoexit_x x\n# TYPE autoexit_x gauge\nautoexit_x 1\nautoexit_x 2\n",
        "# TYPE autoexit_x gauge\nautoexit_x 1\n",
        "# HELP autoexit_x x\nautoexit_x 1\n",
        "# HELP autoexit_x_total x\n# TYPE autoexit_x_total gauge\nautoexit_x_total 1\n",
        "# HELP autoexit_x_ms x\n# TYPE autoexit_x_ms gauge\nautoexit_x_ms 1\n",
        "# HELP autoexit_gauge x\n# TYPE autoexit_gauge gauge\nautoexit_gauge 1\n",
        "# HELP other_x x\n# TYPE other_x gauge\nother_x 1\n",
        '# HELP autoexit_x x\n# TYPE autoexit_x gauge\nautoexit_x{le="1"} 1\n',
        '# HELP autoexit_x x\n# TYPE autoexit_x gauge\nautoexit_x{Ab="1"} 1\n',
    ],
)
def test_the_metrics_lint_detects_violations(bad: str) -> None:
    """
    The lint reports a violation of each rule.
    """
    assert complaints(bad)


def test_nginx_metrics_have_the_official_exporters_names() -> None:
    """
    Its dashboards work if nginx has counters; without counters none of its names occurs.
    """
    expected = {
        "nginx_up", "nginx_connections_accepted", "nginx_connections_active",
        "nginx_connections_handled", "nginx_connections_reading", "nginx_connections_waiting",
        "nginx_connections_writing", "nginx_http_requests_total",
    }  # fmt: skip
    play = Simulation().serve(1)
    names = {sample.name for family in families(scraped(play)) for sample in family.samples}

    assert expected == {name for name in names if name.startswith("nginx_")}
    assert OFFICIAL < expected
    assert "nginx_" not in scraped(play, counted=False).replace("nginx_version", "")


def test_events_are_counted() -> None:
    """
    Failures, refusals and unexpected exits are counters; the current state is gauges.
    """
    text = scraped(eventful())

    assert 1 == value(text, f'autoexit_discovery_errors_total{{source="{SOURCE}"}}')
    assert 1 == value(text, "autoexit_worker_deaths_total")
    assert 1 == value(text, "autoexit_master_deaths_total")
    assert 1 == value(text, 'autoexit_reloads_total{result="refused"}')
    assert 2 == value(text, 'autoexit_reloads_total{result="applied"}')
    assert 1 == value(text, 'autoexit_reloads_total{result="revived"}')
    assert 1 == value(text, "autoexit_rollbacks_total")
    assert 2 == value(text, "autoexit_reload_duration_seconds_count")
    assert 3 == value(text, 'autoexit_endpoints{state="ready"}')
    assert 3 == value(text, "autoexit_serving_endpoints")
    assert 1 == value(text, 'autoexit_mode{mode="serve"}')
    assert 1 == value(text, "autoexit_ready")


def test_the_deadline_is_a_number() -> None:
    """
    The remaining seconds decrease; without a deadline they are infinite.
    """
    play = Simulation({"TTL": "1h"}).serve(1)
    first = value(scraped(play), "autoexit_deadline_remaining_seconds")
    play.run(10.0)

    assert first - 10.0 == pytest.approx(
        value(scraped(play), "autoexit_deadline_remaining_seconds"), abs=0.01
    )
    assert float("inf") == value(
        scraped(Simulation({"TTL": "never"})), "autoexit_deadline_remaining_seconds"
    )


def test_the_idle_clock_is_a_number() -> None:
    """
    With IDLE_TIMEOUT: since the last use, 0 until an endpoint is served, and until the end.
    """
    play = Simulation({"TTL": "1h", "IDLE_TIMEOUT": "10m"})
    assert 0 == value(scraped(play), "autoexit_idle_seconds")
    play.serve(1)
    play.send(UseObserved())
    play.run(10.0)

    assert 10 == pytest.approx(value(scraped(play), "autoexit_idle_seconds"), abs=0.01)
    assert 590 == pytest.approx(value(scraped(play), "autoexit_idle_remaining_seconds"), abs=0.01)
    assert "autoexit_idle" not in scraped(Simulation({"TTL": "1h"}))


def test_the_alert_rules_name_metrics_that_exist() -> None:
    """
    Each name in docs/monitoring occurs in a scrape, with the labels of the rule.
    """
    exported = {
        sample.name: set(sample.labels)
        for family in families(scraped(eventful()))
        for sample in family.samples
    }
    expressions = [
        line for line in ALERTS.read_text().splitlines() if line.strip().startswith("expr:")
    ]
    used = [
        (name, set(re.findall(r"([a-z]+)=~?\"", labels or "")))
        for line in expressions
        for name, labels in re.findall(r"\b((?:autoexit|nginx)_[a-z_]+)(\{[^}]*\})?", line)
    ]

    assert len(used) >= len(expressions) >= 8
    assert [] == [name for name, labels in used if not labels <= exported.get(name, {"?"} ^ labels)]
    assert {name for name, _ in used} <= exported.keys()


def test_a_moved_deadline() -> None:
    """
    The planned and the effective deadline differ; a job without a variable has no series of it.
    """
    access = {"NOMAD_JOB_ID": "lb", "NOMAD_ADDR": "http://nomad:4646"}
    play = Simulation({"DEADLINE": "2027-01-15T10:00:00Z", **access}).serve(1)
    play.send(JobVariableRead(JobVariable(3, WALL + 1, "2027-01-15T11:00:00Z"), WALL + 1))
    play.send(JobVariableFailed("refused"))
    play.run(5.0)
    text = scraped(play)

    assert 1 == value(text, "autoexit_deadline_moved")
    assert 3600 == value(text, "autoexit_deadline_timestamp_seconds") - value(
        text, "autoexit_deadline_planned_timestamp_seconds"
    )
    assert 5 == value(text, "autoexit_job_deadline_failing_seconds")
    assert 0 == value(text, "autoexit_job_deadline_ignored")
    assert "autoexit_job_deadline" not in scraped(Simulation())
