"""
The metrics: what a scrape tells, by the rules of those who scrape.
"""

import re

import pytest

from supervisor.admin.metrics import exposition
from supervisor.admin.status_document import Observation
from supervisor.core.events import ChildExited, DiscoveryFailed, WorkerDied
from supervisor.core.model import ChildKind
from tests.support.checkout import CHECKOUT
from tests.support.metrics_lint import OFFICIAL, complaints, families
from tests.support.policy_simulation import SOURCE, FakeSystem, Simulation, snapshot

ALERTS = CHECKOUT / "docs" / "monitoring" / "alerts.yml"

COUNTED = {
    "active": 3, "accepted": 70, "handled": 69, "requests": 500,
    "reading": 0, "writing": 1, "waiting": 2,
}  # fmt: skip


def scraped(play: Simulation, *, counted: bool = True) -> str:
    """
    Return what a scrape of this moment answers.
    """
    seen = Observation(
        now=play.now,
        wall=play.wall,
        current=True,
        lives=lambda _: True,
        nginx="1.2.3",
        python="3.11.0",
        is_counting=counted,
        connections=COUNTED if counted else None,
    )
    return exposition(play.state, seen).decode()


def value(text: str, series: str) -> float:
    """
    Return the value of one series.
    """
    found = [line for line in text.splitlines() if line.startswith(f"{series} ")]
    assert 1 == len(found), f"{series} in\n{text}"
    return float(found[0].rpartition(" ")[2])


def eventful() -> Simulation:
    """
    Play a life in which everything has happened that is counted.
    """
    play = Simulation({"HEALTH_CHECK": "tcp", "MAX_DRAINING": "1"}).serve(1, 2)
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
def test_a_scrape_keeps_the_rules(play: Simulation, counted: bool) -> None:  # noqa: FBT001
    """
    Help, types, suffixes, units and labels as promtool wants them; no series is told twice.
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
def test_the_lint_of_metrics_sees_what_it_shall(bad: str) -> None:
    """
    Each rule fails on what breaks it.
    """
    assert complaints(bad)


def test_nginx_is_named_as_the_official_exporter_names_it() -> None:
    """
    Its dashboards work where nginx counts; where it does not, none of its names is told.
    """
    expected = {
        "nginx_up", "nginx_connections_accepted", "nginx_connections_active",
        "nginx_connections_handled", "nginx_connections_reading", "nginx_connections_waiting",
        "nginx_connections_writing", "nginx_http_requests_total",
    }  # fmt: skip
    play = Simulation().serve(1)
    told = {sample.name for family in families(scraped(play)) for sample in family.samples}

    assert expected == {name for name in told if name.startswith("nginx_")}
    assert OFFICIAL < expected
    assert "nginx_" not in scraped(play, counted=False).replace("nginx_version", "")


def test_what_has_happened_is_counted() -> None:
    """
    Failures, refusals and deaths are numbers, and so is what is going on.
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
    Seconds that become fewer; without a deadline infinitely many.
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


def test_the_alert_rules_name_metrics_that_exist() -> None:
    """
    Each name in docs/monitoring is told by a scrape, with the labels that are asked for.
    """
    told = {
        sample.name: set(sample.labels)
        for family in families(scraped(eventful()))
        for sample in family.samples
    }
    address_policy = [
        line for line in ALERTS.read_text().splitlines() if line.strip().startswith("expr:")
    ]
    asked = [
        (name, set(re.findall(r"([a-z]+)=~?\"", labels or "")))
        for line in address_policy
        for name, labels in re.findall(r"\b((?:autoexit|nginx)_[a-z_]+)(\{[^}]*\})?", line)
    ]

    assert len(asked) >= len(address_policy) >= 8
    assert [] == [name for name, labels in asked if not labels <= told.get(name, {"?"} ^ labels)]
    assert {name for name, _ in asked} <= told.keys()
