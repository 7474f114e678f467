"""
Tests of the plan: the endpoints that serve, their options, and the mode.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import endpoint_set
from supervisor.core.balancing import Balanced, BalancingSettings, balance
from supervisor.core.balancing_methods import METHODS
from supervisor.core.endpoint_set import EndpointSet
from supervisor.core.events import HealthChanged, SnapshotArrived
from supervisor.core.model import CachedEndpoints, Endpoint, HealthState, Mode, ServerOptions
from tests.support.policy_simulation import endpoints

SEVERAL = endpoints(*range(1, 11))


def known(
    health_states: str, server_options: dict[Endpoint, ServerOptions] | None = None
) -> EndpointSet:
    """
    Return endpoints 1, 2, ... with these states: Ready, Slow, Failing, sTarting, Unknown.
    """
    states = {
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
        each: states[letter]
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
    """Return the plan for endpoints with these states."""
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
def test_endpoints_serve_by_their_health(health_states: str, ports: tuple[int, ...]) -> None:
    """
    Ready endpoints serve, and slow ones so that at most half are left out.  If all fail, those that
    were ready once serve; an endpoint that was never ready does not.
    """
    plan = chosen(health_states).plan

    assert (Mode.SERVE, endpoints(*ports)) == (plan.mode, plan.endpoints)


@pytest.mark.parametrize(
    "health_states, mode",
    [("", Mode.NO_ENDPOINTS), ("T", Mode.STARTING), ("UT", Mode.STARTING)],
)
def test_the_mode_tells_why_no_endpoint_serves(health_states: str, mode: Mode) -> None:
    """
    The mode of a starting service differs from that of an empty one.
    """
    plan = chosen(health_states).plan

    assert ((), mode) == (plan.endpoints, plan.mode)


def test_one_service_without_an_answer_keeps_it_starting() -> None:
    """
    The mode is NO_ENDPOINTS only after all services have answered empty.
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
    With HEALTH_FAIL_OPEN=false no failing endpoint serves, and the mode is UNHEALTHY.
    """
    choice = chosen("FFT", fail_open=False)

    assert ((), Mode.UNHEALTHY) == (choice.plan.endpoints, choice.plan.mode)


def test_a_restart_serves_no_dead_endpoint_alone() -> None:
    """
    After a restart a dead endpoint fails its first probe before the others pass theirs.  Those that
    were ready before the restart then serve too, without a warning, until they have a result.
    """
    listed = endpoints(1, 2, 3)
    cached = CachedEndpoints(listed, {}, frozenset(listed[:2]), 5.0)
    made = endpoint_set.restored(
        EndpointSet.expecting(["a"], 100, is_probing=True), {"a": cached}, 1.0
    )
    settings = BalancingSettings("least_conn", fail_open=True)
    refused = endpoint_set.health_changed(made, HealthChanged({listed[0]: HealthState.FAILING}), 1)

    assert () == balance(made, settings).plan.endpoints
    assert (listed[:2], ()) == plan_and_warnings(balance(refused, settings))
    all_fail = endpoint_set.health_changed(
        refused, HealthChanged({listed[1]: HealthState.FAILING}), 1
    )
    warnings = ("all endpoints fail health checks; failing open",)
    assert (listed[:2], warnings) == plan_and_warnings(balance(all_fail, settings))
    shut = BalancingSettings("least_conn", fail_open=False)
    assert Mode.UNHEALTHY is balance(refused, shut).plan.mode


def plan_and_warnings(balanced: Balanced) -> tuple[tuple[Endpoint, ...], tuple[str, ...]]:
    """
    Return the endpoints of a plan, and its warnings.
    """
    return balanced.plan.endpoints, balanced.warnings


def test_failing_open_adds_a_warning() -> None:
    """
    The operator is warned that only failing endpoints serve.
    """
    assert ("all endpoints fail health checks; failing open",) == chosen("F").warnings


def test_without_probes_listed_endpoints_serve() -> None:
    """
    With HEALTH_CHECK=off every listed endpoint counts as ready.
    """
    made = EndpointSet.expecting(["a"], 10, is_probing=False)
    made = endpoint_set.arrived(made, SnapshotArrived("a", endpoints(1)), 1.0)

    assert (
        endpoints(1)
        == balance(made, BalancingSettings("least_conn", fail_open=True)).plan.endpoints
    )


def test_a_removed_endpoint_serves_while_no_listed_one_is_ready() -> None:
    """
    It serves with a warning as long as it is ready, and stops before failing open.
    """
    made = endpoint_set.arrived(known("R"), SnapshotArrived("a", endpoints(5)), 2.0)
    choice = balance(made, BalancingSettings("least_conn", fail_open=True))
    assert endpoints(1) == choice.plan.endpoints
    assert choice.warnings

    made = endpoint_set.health_changed(made, HealthChanged({SEVERAL[0]: HealthState.FAILING}), 2.0)
    assert Mode.STARTING is balance(made, BalancingSettings("least_conn", fail_open=True)).plan.mode


# ---------------------------------------------------------------------------- server options


def test_the_plan_contains_weights() -> None:
    """
    Weights other than 1 are in the plan, in the order of the endpoints.
    """
    server_options = {SEVERAL[2]: ServerOptions(5), SEVERAL[0]: ServerOptions(2)}
    plan = chosen("RRR", server_options).plan

    assert ((SEVERAL[0], ServerOptions(2)), (SEVERAL[2], ServerOptions(5))) == plan.server_options


def test_the_weight_of_an_endpoint_not_serving_is_not_in_the_plan() -> None:
    """
    Otherwise a change of its tags would cause a reload.
    """
    assert () == chosen("RT", {SEVERAL[1]: ServerOptions(5)}).plan.server_options


def test_a_draining_endpoint_is_left_out_while_others_serve() -> None:
    """
    A draining endpoint is left out even though it is ready.
    """
    assert endpoints(1) == chosen("RR", {SEVERAL[1]: ServerOptions(drain=True)}).plan.endpoints


def test_a_draining_endpoint_serves_if_it_is_the_only_ready_one() -> None:
    """
    It prevents a 503 while the other endpoints start.
    """
    assert endpoints(2) == chosen("TR", {SEVERAL[1]: ServerOptions(drain=True)}).plan.endpoints


def test_drain_on_all_endpoints_is_ignored_with_a_warning() -> None:
    """
    All of them serve, without options.
    """
    choice = chosen("RR", dict.fromkeys(SEVERAL[:2], ServerOptions(drain=True)))

    assert (endpoints(1, 2), ()) == (choice.plan.endpoints, choice.plan.server_options)
    assert ("all endpoints have the tag lb.drain; ignoring it",) == choice.warnings


def test_backup_on_all_endpoints_is_ignored_with_a_warning() -> None:
    """
    Nginx refuses an upstream with only backups; their weights are kept.
    """
    choice = chosen("RR", dict.fromkeys(SEVERAL[:2], ServerOptions(2, backup=True)))

    assert tuple((each, ServerOptions(2)) for each in SEVERAL[:2]) == choice.plan.server_options
    assert ("all endpoints have the tag lb.backup; ignoring it",) == choice.warnings


def test_a_backup_is_in_the_plan_as_a_backup() -> None:
    """
    Nginx itself uses it when all other endpoints fail.
    """
    choice = chosen("RR", {SEVERAL[1]: ServerOptions(backup=True)})

    assert endpoints(1, 2) == choice.plan.endpoints
    assert ((SEVERAL[1], ServerOptions(backup=True)),) == choice.plan.server_options
    assert () == choice.warnings


def test_a_method_without_backups_uses_them_only_if_no_other_is_ready() -> None:
    """
    A warning explains that the method does not support backups.
    """
    server_options = {SEVERAL[1]: ServerOptions(backup=True)}
    choice = chosen("RR", server_options, method="ip_hash")

    assert (endpoints(1), ()) == (choice.plan.endpoints, choice.plan.server_options)
    reason = "they serve only while no other endpoint is ready"
    assert (f"LB_METHOD=ip_hash does not support backups; {reason}",) == choice.warnings
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
def test_every_combination_of_tags_yields_a_set_that_nginx_accepts(
    health_states: str,
    server_options: dict[Endpoint, ServerOptions],
    method: str,
    *,
    fail_open: bool,
) -> None:
    """
    If an endpoint is ready, at least one serves; at least one server is no backup; backups occur
    only if the method supports them; an endpoint that was never ready does not serve.
    """
    listed = endpoints(*range(1, len(health_states) + 1))
    requested = {each: options for each, options in server_options.items() if each in listed}
    plan = chosen(health_states, requested, method=method, fail_open=fail_open).plan
    backups = {each for each, options in plan.server_options if options.backup}

    assert ("R" in health_states) <= bool(plan.endpoints)
    assert bool(plan.endpoints) is (plan.mode is Mode.SERVE)
    assert not plan.endpoints or backups < set(plan.endpoints)
    assert not backups or METHODS[method].takes_backup
    assert not any(options.drain for _, options in plan.server_options)
    assert all(health_states[listed.index(each)] in "RSF" for each in plan.endpoints)
    assert tuple(sorted(plan.endpoints)) == plan.endpoints


# ------------------------------------------------------------------ deadline and lame duck


def test_the_plan_carries_the_deadline_in_whole_seconds() -> None:
    """
    Fractions are cut off, so that it is never later than the deadline.
    """
    settings = BalancingSettings("least_conn", fail_open=True, sunset=1_800_000_000.9)

    assert 1_800_000_000 == balance(known("R"), settings).plan.sunset


@pytest.mark.parametrize("health_states, ports", [("R", (1,)), ("T", ())])
def test_a_lame_duck_still_serves(health_states: str, ports: tuple[int, ...]) -> None:
    """
    The mode is DRAINING, with or without ready endpoints.
    """
    settings = BalancingSettings("least_conn", fail_open=True, in_lame_duck=True)
    plan = balance(known(health_states), settings).plan

    assert (Mode.DRAINING, endpoints(*ports)) == (plan.mode, plan.endpoints)
