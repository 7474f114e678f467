"""
The document of /status, made of states that a life goes through.
"""

import json
import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from supervisor.admin.status_document import ROWS, Observation, document
from supervisor.core.events import (
    ChildExited,
    DeadlineRequested,
    DiscoveryFailed,
    Event,
    HealthChanged,
    SignalArrived,
    SnapshotArrived,
    StateSaved,
    StopRequested,
    WorkerDied,
)
from supervisor.core.model import ChildKind, Endpoint, HealthState, ServerOptions
from supervisor.core.stats import MAX_RELOADS
from tests.support.checkout import CHECKOUT
from tests.support.policy_simulation import SOURCE, FakeSystem, Simulation, endpoints, snapshot

SCHEMA = Draft202012Validator(json.loads((CHECKOUT / "docs" / "status.schema.json").read_text()))
SAMPLES: dict[str, Any] = {
    "every": 5.0, "at": [], "ready": [], "requests_per_second": [], "connections": [],
}  # fmt: skip


def told(play: Simulation, *, current: bool = True, lives: bool = True) -> dict[str, Any]:
    """
    Return what /status would answer now, having compared it with its schema.
    """
    wall = play.wall + play.now - 1000.0
    seen = Observation(
        play.now, wall, current, lambda _: lives, "1.2.3", "3.11.0", is_counting=False
    )
    found: dict[str, Any] = json.loads(json.dumps(document(play.state, seen, SAMPLES)))
    SCHEMA.validate(found)
    return found


def kinds(found: dict[str, Any]) -> list[str]:
    """
    Return which warnings are given.
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
def test_whatever_happens_the_document_keeps_to_its_schema(
    happening: list[tuple[Event, float]],
    ttl: str,
    check: str,
    broken: bool,  # noqa: FBT001
) -> None:
    """
    At every moment of any life: starting, serving, failing, ending and ended.
    """
    world = FakeSystem(check_code=1, check_output="no such directive") if broken else FakeSystem()
    play = Simulation({"TTL": ttl, "HEALTH_CHECK": check, "MAX_TTL": "3h"}, system=world)
    told(play)
    for event, pause in happening:
        if play.exit is None:
            play.send(event)
            told(play)
            play.run(pause)
            told(play, current=False, lives=False)


def test_a_calm_life_has_no_warnings() -> None:
    """
    What is told of a service that does what it should.
    """
    found = told(Simulation({"TTL": "3h", "HEALTH_CHECK": "tcp"}).serve(1, 2))

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
        (HealthChanged(dict.fromkeys(endpoints(1, 2), HealthState.FAILING)), "endpoints_remark"),
        (snapshot(), "nobody_ready"),
        (DeadlineRequested(1, 0.0, -2.5 * 3600), "deadline_near"),
    ],
)
def test_what_is_wrong_is_a_warning(event: Event, kind: str) -> None:
    """
    As long as it lasts.
    """
    play = Simulation({"TTL": "3h", "HEALTH_CHECK": "tcp"}).serve(1, 2)
    play.send(event)
    play.run(2.0)

    assert [kind] == kinds(told(play))


def test_a_refused_configuration_is_told_with_its_reason() -> None:
    """
    Until one is accepted.
    """
    play = Simulation({"TTL": "3h"}).serve(1)
    play.system = FakeSystem(check_code=1, check_output="no such directive")
    play.send(snapshot(1, 2))
    play.run(0.5)
    found = told(play)

    assert ["reload_failed"] == kinds(found)
    assert "no such directive" in found["warnings"][0]["text"]
    latest = found["reloads"]["last"][0]
    assert ("refused", "1 endpoint added", "no such directive", 1) == tuple(
        latest[name] for name in ("result", "why", "reason", "endpoints")
    )
    play.system = FakeSystem()
    play.run(60.0)
    assert [] == kinds(told(play))


def test_a_silent_nginx_is_told() -> None:
    """
    Its death, and that it is back.
    """
    play = Simulation({"TTL": "3h"}).serve(1)
    play.system = FakeSystem(boot_time=0.5)
    play.send(ChildExited(play.state.master.pid, ChildKind.MASTER, 139))
    found = told(play)

    assert ["nginx_silent"] == kinds(found)
    assert (False, "down", None, 1) == (
        found["healthy"],
        found["nginx"]["health"],
        found["nginx"]["pid"],
        found["nginx"]["restarts"],
    )
    play.run(3.0)
    assert [] == kinds(told(play))
    assert "nginx exited or stopped responding" == told(play)["reloads"]["last"][0]["why"]


def test_a_loop_that_stands_still_is_told_first() -> None:
    """
    What is shown then is old: neither healthy nor ready.
    """
    found = told(Simulation({"TTL": "3h"}).serve(1), current=False)

    assert ["loop_stuck"] == kinds(found)
    assert (False, False, False) == (found["current"], found["healthy"], found["ready"])


def test_a_reload_that_waits_and_who_drains_are_told() -> None:
    """
    Old generations as long as their processes live.
    """
    play = Simulation({"TTL": "3h", "MAX_DRAINING": "1"}).serve(1)
    for number, port in enumerate((2, 3, 4)):
        play.system.workers |= frozenset({10 * number + 1, 10 * number + 2})
        play.send(snapshot(1, *range(2, port + 1)))
        play.run(3.0)
    found = told(play)

    assert "reload_waits" in kinds(found)
    assert "MAX_DRAINING" in found["reloads"]["waiting"]
    assert [{"workers": 2, "told": False}] == found["nginx"]["draining"]
    assert [] == told(play, lives=False)["nginx"]["draining"]


def test_the_end_is_told() -> None:
    """
    Why, since when, and within how long it is over.
    """
    play = Simulation({"TTL": "3h"}, system=FakeSystem(effective_signals=frozenset())).serve(1)
    play.send(SignalArrived(signal.SIGTERM))
    play.run(1.0)
    found = told(play)

    assert "draining" == found["phase"]
    assert ("stop signal", 3.0) == (found["ending"]["reason"], found["ending"]["gone_within"])


def test_the_rows_have_a_bound_and_trouble_is_never_left_out() -> None:
    """
    With thousands of endpoints those that are not ready are listed first; the rest is counted.
    """
    many = tuple(Endpoint(f"10.1.{n // 250}.{n % 250 + 1}", 80) for n in range(ROWS + 500))
    play = Simulation({"TTL": "3h", "HEALTH_CHECK": "tcp"})
    play.send(SnapshotArrived(SOURCE, many))
    play.run(1.0)
    play.send(HealthChanged({many[-1]: HealthState.FAILING}))
    found = told(play)["endpoints"]

    assert (ROWS + 500, ROWS, 500) == (found["known"], len(found["rows"]), found["omitted"])
    (row,) = [row for row in found["rows"] if row["health"] != "ready"]
    assert (str(many[-1]), "failing") == (row["address"], row["health"])


def test_the_last_reloads_are_kept_and_no_more() -> None:
    """
    Newest first.
    """
    play = Simulation({"TTL": "3h"}).serve(1)
    for port in range(2, MAX_RELOADS + 10):
        play.send(snapshot(1, port))
        play.run(5.0)
    found = told(play)["reloads"]

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
def test_what_is_served_is_told_in_the_words_of_the_settings(
    settings: dict[str, str], served: str
) -> None:
    """
    Services, endpoints or a file.
    """
    assert served == told(Simulation(settings))["service"]


def test_shares_and_who_leaves_are_told() -> None:
    """
    What the tags ask for stands in the row; so does that an endpoint is listed no more.
    """
    play = Simulation({"TTL": "3h", "HEALTH_CHECK": "tcp"}).serve(1)
    play.system.endpoints_ready = False
    (other,) = endpoints(2)
    play.send(
        SnapshotArrived(SOURCE, (other,), server_options={other: ServerOptions(3, drain=True)})
    )
    play.run(1.0)
    leaving, new = told(play)["endpoints"]["rows"]

    assert (True, True) == (leaving["leaving"], leaving["serving"])
    assert (False, "starting", 3, True) == tuple(
        new[name] for name in ("serving", "health", "weight", "drain")
    )


def test_no_secret_is_in_the_document() -> None:
    """
    S05: of the settings only what is served is told.
    """
    play = Simulation({"NOMAD_TOKEN": "s3cr3t-t0ken", "TTL": "3h"}).serve(1)

    assert "s3cr3t" not in json.dumps(told(play))
