"""
Who serves, with which share, and what a client is told when nobody does.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import endpoint_set
from supervisor.core.balancing import Balanced, BalancingSettings, balance
from supervisor.core.balancing_methods import METHODS
from supervisor.core.endpoint_set import EndpointSet
from supervisor.core.events import HealthChanged, SnapshotArrived
from supervisor.core.model import Endpoint, HealthState, Mode, ServerOptions
from tests.support.policy_simulation import endpoints

SEVERAL = endpoints(*range(1, 11))


def known(
    health_states: str, server_options: dict[Endpoint, ServerOptions] | None = None
) -> EndpointSet:
    """
    Return endpoints 1, 2, ... in these conditions: Ready, Slow, Failing, sTarting, Unknown.
    """
    words = {
        "R": HealthState.READY,
        "S": HealthState.SLOW,
        "F": HealthState.FAILING,
        "T": HealthState.STARTING,
    }
    listed = endpoints(*range(1, len(health_states) + 1))
    made = EndpointSet.expecting(["a"], 100, is_probing=True)
    made = endpoint_set.arrived(
        made, SnapshotArrived("a", listed, server_options=server_options or {}), 1.0
    )
    found = {
        each: words[letter]
        for each, letter in zip(listed, health_states, strict=True)
        if letter != "U"
    }
    return endpoint_set.health_changed(made, HealthChanged(found), 1.0)


def chosen(
    health_states: str,
    server_options: dict[Endpoint, ServerOptions] | None = None,
    *,
    method: str = "least_conn",
    fail_open: bool = True,
) -> Balanced:
    """Choose among them."""
    return balance(known(health_states, server_options), BalancingSettings(method, fail_open))


@pytest.mark.parametrize(
    "health_states, ports",
    [
        ("RR", (1, 2)),
        ("RTU", (1,)),
        ("RFT", (1,)),
        ("TTR", (3,)),
        ("RS", (1,)),
        ("S", (1,)),  # half of one is none
        ("SS", (1,)),
        ("RRSS", (1, 2)),
        ("RSSS", (1, 2)),
        ("SSSSSSSSSS", (1, 2, 3, 4, 5)),
        ("FSS", (2,)),
        ("FF", (1, 2)),
        ("FFT", (1, 2)),
    ],
)
def test_who_serves(health_states: str, ports: tuple[int, ...]) -> None:
    """
    The ready ones; never one that was not ready yet; of the slow ones at most half are out; all
    failing, those that were ready once.
    """
    plan = chosen(health_states).plan

    assert (Mode.SERVE, endpoints(*ports)) == (plan.mode, plan.endpoints)


@pytest.mark.parametrize(
    "health_states, mode",
    [("", Mode.NO_ENDPOINTS), ("T", Mode.STARTING), ("UT", Mode.STARTING)],
)
def test_why_nobody_serves(health_states: str, mode: Mode) -> None:
    """
    A client can tell a service that starts from one that is empty.
    """
    plan = chosen(health_states).plan

    assert ((), mode) == (plan.endpoints, plan.mode)


def test_one_service_without_an_answer_keeps_it_starting() -> None:
    """
    Only when all have answered empty is it known that there are no endpoints.
    """
    both = EndpointSet.expecting(["a", "b"], 10, is_probing=True)
    both = endpoint_set.arrived(both, SnapshotArrived("a", ()), 1.0)
    assert Mode.STARTING is balance(both, BalancingSettings("least_conn", fail_open=True)).plan.mode

    both = endpoint_set.arrived(both, SnapshotArrived("b", ()), 1.0)
    assert (
        Mode.NO_ENDPOINTS
        is balance(both, BalancingSettings("least_conn", fail_open=True)).plan.mode
    )


def test_failing_closed_is_unhealthy() -> None:
    """
    HEALTH_FAIL_OPEN=false: better a clear answer than a failing replica.
    """
    choice = chosen("FFT", fail_open=False)

    assert ((), Mode.UNHEALTHY) == (choice.plan.endpoints, choice.plan.mode)


def test_failing_open_is_remarked() -> None:
    """
    An operator is to know that what serves does not look well.
    """
    assert ("every endpoint fails its probes: serving all the same",) == chosen("F").warnings


def test_without_probes_what_is_listed_serves() -> None:
    """
    HEALTH_CHECK=off.
    """
    made = EndpointSet.expecting(["a"], 10, is_probing=False)
    made = endpoint_set.arrived(made, SnapshotArrived("a", endpoints(1)), 1.0)

    assert (
        endpoints(1)
        == balance(made, BalancingSettings("least_conn", fail_open=True)).plan.endpoints
    )


def test_what_left_serves_while_nothing_listed_is_ready() -> None:
    """
    As long as it answers; it goes before failing open.
    """
    made = endpoint_set.arrived(known("R"), SnapshotArrived("a", endpoints(5)), 2.0)
    choice = balance(made, BalancingSettings("least_conn", fail_open=True))
    assert endpoints(1) == choice.plan.endpoints
    assert choice.warnings

    made = endpoint_set.health_changed(made, HealthChanged({SEVERAL[0]: HealthState.FAILING}), 2.0)
    assert Mode.STARTING is balance(made, BalancingSettings("least_conn", fail_open=True)).plan.mode


# ------------------------------------------------------------------------------------ shares


def test_weights_stand_in_the_plan() -> None:
    """
    Only those that differ, in the order of the endpoints.
    """
    server_options = {SEVERAL[2]: ServerOptions(5), SEVERAL[0]: ServerOptions(2)}
    plan = chosen("RRR", server_options).plan

    assert ((SEVERAL[0], ServerOptions(2)), (SEVERAL[2], ServerOptions(5))) == plan.server_options


def test_a_weight_of_one_that_does_not_serve_is_not_in_the_plan() -> None:
    """
    Else a change of its tags would be a reload.
    """
    assert () == chosen("RT", {SEVERAL[1]: ServerOptions(5)}).plan.server_options


def test_who_drains_gets_nothing_while_others_serve() -> None:
    """
    It is ready, and left out.
    """
    assert endpoints(1) == chosen("RR", {SEVERAL[1]: ServerOptions(drain=True)}).plan.endpoints


def test_who_drains_serves_when_there_is_nobody_else() -> None:
    """
    Better than a 503 while the others start.
    """
    assert endpoints(2) == chosen("TR", {SEVERAL[1]: ServerOptions(drain=True)}).plan.endpoints


def test_all_draining_is_ignored_and_remarked() -> None:
    """
    The best sensible set is all of them.
    """
    choice = chosen("RR", dict.fromkeys(SEVERAL[:2], ServerOptions(drain=True)))

    assert (endpoints(1, 2), ()) == (choice.plan.endpoints, choice.plan.server_options)
    assert ("every endpoint has the tag lb.drain: it is ignored",) == choice.warnings


def test_all_backups_is_ignored_and_remarked() -> None:
    """
    Nginx refuses an upstream of nothing but backups; their weights stay.
    """
    choice = chosen("RR", dict.fromkeys(SEVERAL[:2], ServerOptions(2, backup=True)))

    assert tuple((each, ServerOptions(2)) for each in SEVERAL[:2]) == choice.plan.server_options
    assert ("every endpoint has the tag lb.backup: it is ignored",) == choice.warnings


def test_a_backup_stands_by() -> None:
    """
    Nginx itself turns to it when all others fail.
    """
    choice = chosen("RR", {SEVERAL[1]: ServerOptions(backup=True)})

    assert endpoints(1, 2) == choice.plan.endpoints
    assert ((SEVERAL[1], ServerOptions(backup=True)),) == choice.plan.server_options
    assert () == choice.warnings


def test_a_method_without_backups_gets_them_only_when_they_are_needed() -> None:
    """
    And says once what it does with the tag.
    """
    server_options = {SEVERAL[1]: ServerOptions(backup=True)}
    choice = chosen("RR", server_options, method="ip_hash")

    assert (endpoints(1), ()) == (choice.plan.endpoints, choice.plan.server_options)
    assert (
        "LB_METHOD=ip_hash knows no backups: they serve while nobody else is ready",
    ) == choice.warnings
    assert endpoints(2) == chosen("TR", server_options, method="ip_hash").plan.endpoints


@given(
    health_states=st.text("RSFTU", min_size=1, max_size=10),
    server_options=st.dictionaries(
        st.sampled_from(SEVERAL),
        st.builds(ServerOptions, st.integers(1, 1000), st.booleans(), st.booleans()),
    ),
    method=st.sampled_from(sorted(METHODS)),
    fail_open=st.booleans(),
)
def test_whatever_the_tags_say_the_set_is_one_that_nginx_accepts(
    health_states: str,
    server_options: dict[Endpoint, ServerOptions],
    method: str,
    *,
    fail_open: bool,
) -> None:
    """
    Somebody serves whenever somebody is ready; at least one of them is no backup; a backup stands
    only where the method knows it; nobody serves who never was ready.
    """
    listed = endpoints(*range(1, len(health_states) + 1))
    asked = {each: options for each, options in server_options.items() if each in listed}
    plan = chosen(health_states, asked, method=method, fail_open=fail_open).plan
    backups = {each for each, options in plan.server_options if options.backup}

    assert ("R" in health_states) <= bool(plan.endpoints)
    assert bool(plan.endpoints) is (plan.mode is Mode.SERVE)
    assert not plan.endpoints or backups < set(plan.endpoints)
    assert not backups or METHODS[method].takes_backup
    assert not any(options.drain for _, options in plan.server_options)
    assert all(health_states[listed.index(each)] in "RSF" for each in plan.endpoints)
    assert tuple(sorted(plan.endpoints)) == plan.endpoints


# ------------------------------------------------------------------------- what clients are told


def test_the_plan_carries_the_deadline_in_whole_seconds() -> None:
    """
    Never later than it is.
    """
    terms = BalancingSettings("least_conn", fail_open=True, sunset=1_800_000_000.9)

    assert 1_800_000_000 == balance(known("R"), terms).plan.sunset


@pytest.mark.parametrize("health_states, ports", [("R", (1,)), ("T", ())])
def test_a_lame_duck_still_serves(health_states: str, ports: tuple[int, ...]) -> None:
    """
    It is draining, whoever is ready.
    """
    terms = BalancingSettings("least_conn", fail_open=True, in_lame_duck=True)
    plan = balance(known(health_states), terms).plan

    assert (Mode.DRAINING, endpoints(*ports)) == (plan.mode, plan.endpoints)
