"""
Readiness: which endpoints are served, which changes wait, and what is cached.
"""

import pytest

from supervisor.core.commands import ProbeNow, SaveCache, SetProbeTargets, SpawnMaster, Stage, Swap
from supervisor.core.events import (
    DiscoveryFailed,
    EndpointsSuspected,
    HealthChanged,
    ProbesFellBack,
    SnapshotArrived,
)
from supervisor.core.model import CachedEndpoints, Endpoint, HealthState, Mode, ServerOptions
from supervisor.core.policy.decide import load_cache
from tests.support.policy_simulation import SOURCE, FakeSystem, Simulation, endpoints, snapshot

ONE, TWO, THREE = endpoints(1, 2, 3)


def probing(system: FakeSystem | None = None, **variables: str) -> Simulation:
    """Return a simulation with TCP probes."""
    return Simulation({"HEALTH_CHECK": "tcp", **variables}, system=system or FakeSystem())


def probed(health_state: HealthState, *endpoints_: Endpoint) -> HealthChanged:
    """Return the result of probes."""
    return HealthChanged(dict.fromkeys(endpoints_, health_state))


def served(sim: Simulation) -> tuple[int, ...]:
    """Return the ports that are served."""
    return tuple(endpoint.port for endpoint in sim.served.endpoints)


# ----------------------------------------------------------------------------------- starting


def test_the_first_start_waits_for_the_first_probe_results() -> None:
    """
    The usual start then needs no reload.
    """
    sim = probing()
    sim.send(snapshot(1, 2))
    began = sim.now
    sim.run(1.0)

    assert [began + 0.026] == [round(at, 3) for at in sim.times(Stage)]
    assert (1, 2) == served(sim)


def test_the_first_start_waits_for_start_wait_at_most() -> None:
    """
    Nginx then starts in mode `starting`.
    """
    sim = probing(FakeSystem(probe_time=None))
    sim.send(snapshot(1))
    began = sim.now
    sim.run(1.0)

    assert [began + 0.25] == sim.times(Stage)
    assert ((), Mode.STARTING) == (sim.served.endpoints, sim.served.mode)


def test_an_endpoint_that_becomes_ready_is_served() -> None:
    """
    The log names it.
    """
    sim = probing(FakeSystem(endpoints_ready=False)).serve(1)
    assert Mode.STARTING is sim.served.mode

    sim.send(probed(HealthState.READY, ONE))
    sim.run(1.0)

    assert (1,) == served(sim)
    (line,) = sim.notes("health.changed")
    assert ["10.0.0.1:1"] == line.fields["became_ready"]
    assert 1 == line.fields["ready"]


def test_a_failing_endpoint_is_removed() -> None:
    """
    The other endpoints are still served.
    """
    sim = probing().serve(1, 2)
    sim.send(probed(HealthState.FAILING, TWO))
    sim.run(1.0)

    assert (1,) == served(sim)
    line = sim.notes("health.changed")[-1]
    assert ("warning", ["10.0.0.1:2"]) == (line.level, line.fields["lost"])


def test_the_log_names_five_endpoints_and_counts_the_rest() -> None:
    """
    The length of a log line is limited.
    """
    sim = probing().serve(*range(1, 10))

    (line,) = sim.notes("health.changed")
    assert "and 4 more" == line.fields["became_ready"][-1]


# ---------------------------------------------------------------------------- delayed changes


def test_a_removal_and_an_addition_are_one_change() -> None:
    """
    A change waits for the first probe results of new endpoints.
    """
    sim = probing().serve(1, 2)
    sim.run(10)
    before = len(sim.commands(Stage))
    sim.send(snapshot(1, 3))
    sim.run(2.0)

    assert before + 1 == len(sim.commands(Stage))
    assert (1, 3) == served(sim)


def test_a_removal_is_staged_at_once() -> None:
    """
    It waits for no probe.
    """
    sim = probing().serve(1, 2)
    sim.run(10)
    sim.send(snapshot(1))
    sim.run(0)

    assert endpoints(1) == sim.commands(Stage)[-1].plan.endpoints
    assert sim.now == sim.times(Stage)[-1]


def test_a_change_is_staged_and_checked_while_new_endpoints_are_probed() -> None:
    """
    It is swapped in at the moment of their first results.
    """
    sim = probing().serve(1)
    sim.run(10)
    changed_at, before = sim.now, len(sim.commands(Stage))
    sim.send(snapshot(2, 3))
    sim.run(1)

    assert [changed_at] == sim.times(Stage)[before:]
    assert pytest.approx([changed_at + 0.026]) == sim.times(Swap)[-1:]
    assert (2, 3) == served(sim)
    (line,) = sim.notes("reload.applied")[1:]
    assert 0.026 <= line.fields["duration"] < 0.2


def test_a_staged_change_that_the_probes_contradict_is_discarded() -> None:
    """
    What the probes found is staged instead, and nothing else is ever served.
    """
    sim = probing(FakeSystem(probe_time=None)).serve()
    sim.send(snapshot(1, 2))
    sim.send(probed(HealthState.READY, ONE, TWO))
    sim.run(10)
    before = len(sim.commands(Swap))
    sim.send(snapshot(1, 3))
    sim.run(0.02)
    assert endpoints(1, 3) == sim.commands(Stage)[-1].plan.endpoints
    sim.send(probed(HealthState.STARTING, THREE))
    sim.run(1)

    assert (1,) == served(sim)
    assert before + 1 == len(sim.commands(Swap))


def test_a_refused_guess_is_no_failed_reload() -> None:
    """
    `nginx -t` refuses the plan that the probes would have to confirm; they do not.
    """
    sim = probing(FakeSystem(probe_time=None)).serve()
    sim.send(snapshot(1))
    sim.send(probed(HealthState.READY, ONE))
    sim.run(10)
    sim.system.check_code = 1
    sim.send(snapshot(1, 2))
    sim.run(0.02)
    sim.send(probed(HealthState.STARTING, TWO))
    sim.run(10)

    assert [] == sim.notes("reload.failed")
    assert (1,) == served(sim)


def test_a_refused_guess_that_comes_true_is_reported_once() -> None:
    """
    The retry comes after the usual pause.
    """
    sim = probing().serve(1)
    sim.run(10)
    sim.system.check_code = 1
    sim.send(snapshot(1, 2))
    sim.run(0.9)
    assert 1 == len(sim.notes("reload.failed"))

    sim.system.check_code = 0
    sim.run(2)
    assert (1, 2) == served(sim)


def test_no_worker_is_ended_for_a_guess() -> None:
    """
    Where the next reload does not fit, it is deferred only once it is wanted.
    """
    sim = probing().serve(1)
    sim.run(10)
    sim.system.free_processes = 0
    sim.send(snapshot(1, 2))
    sim.run(0.02)
    assert [] == sim.notes("reload.deferred")

    sim.run(1)
    assert sim.notes("reload.deferred")


def test_a_removal_waits_35_ms_for_a_slow_new_endpoint() -> None:
    """
    After that it is staged without the new endpoint.
    """
    sim = probing().serve(1, 2)
    sim.run(10)
    sim.system.probe_time = None
    changed_at = sim.now
    sim.send(snapshot(1, 3))
    sim.run(2.0)

    assert changed_at + 0.035 == sim.times(Stage)[-1]
    assert (1,) == served(sim)


def test_a_replaced_set_is_served_until_the_new_one_is_ready() -> None:
    """
    There is no gap, and one reload.
    """
    sim = probing().serve(1)
    sim.run(10)
    before = len(sim.commands(Swap))
    sim.system.endpoints_ready = False
    sim.send(snapshot(2))
    sim.run(10)
    assert (1,) == served(sim)
    assert sim.notes("endpoints.warning")

    sim.send(probed(HealthState.READY, TWO))
    sim.run(2)
    assert (2,) == served(sim)
    assert before + 1 == len(sim.commands(Swap))


def test_a_replaced_set_is_served_for_30_s_at_most() -> None:
    """
    After that its endpoints are no longer probed or served.
    """
    sim = probing().serve(1)
    sim.system.endpoints_ready = False
    sim.send(snapshot(2))
    sim.run(29)
    assert (1,) == served(sim)

    sim.run(2)
    assert Mode.STARTING is sim.served.mode
    assert {TWO} == sim.commands(SetProbeTargets)[-1].endpoints


def test_a_warning_is_logged_once() -> None:
    """
    It is logged again when its cause recurs.
    """
    sim = probing().serve(1, 2)
    sim.send(probed(HealthState.FAILING, ONE, TWO))
    sim.run(5)
    assert (1, 2) == served(sim)
    sim.send(DiscoveryFailed(SOURCE, "unreachable", 1.0))
    assert 1 == len(sim.notes("endpoints.warning"))

    sim.send(probed(HealthState.READY, ONE, TWO))
    sim.send(probed(HealthState.FAILING, ONE, TWO))
    assert 2 == len(sim.notes("endpoints.warning"))


# --------------------------------------------------------------------------------- the probes


def test_all_known_endpoints_are_probed() -> None:
    """
    Each change is one command, which marks the leaving endpoints.
    """
    sim = probing().serve(1, 2)
    sim.system.endpoints_ready = False
    sim.send(snapshot(3))

    first, second = sim.commands(SetProbeTargets)
    assert (frozenset({ONE, TWO}), frozenset()) == (first.endpoints, first.leaving)
    assert ({ONE, TWO, THREE}, {ONE, TWO}) == (second.endpoints, second.leaving)


def test_probes_stop_when_shutdown_begins() -> None:
    """
    The replicas may be stopping too.
    """
    sim = probing(TTL="10s").serve(1)
    sim.run(20)

    assert frozenset() == sim.commands(SetProbeTargets)[-1].endpoints


def test_health_check_off_sends_no_probes() -> None:
    """
    Endpoints are served without a check.
    """
    sim = probing(HEALTH_CHECK="off").serve(1)

    assert [] == sim.commands(SetProbeTargets)
    assert (1,) == served(sim)


def test_a_fallback_to_tcp_probes_is_logged() -> None:
    """
    The hint is the command that restores the configured check.
    """
    sim = probing().serve(1)
    sim.send(ProbesFellBack("403", "nomad acl policy apply"))

    (line,) = sim.notes("probes.fell_back")
    assert "nomad acl policy apply" == line.fields["hint"]


# -------------------------------------------------------------------- tags, jobs, server options


def test_a_changed_weight_is_a_change() -> None:
    """
    It is applied even if the endpoints are the same.
    """
    sim = probing().serve(1, 2)
    sim.send(SnapshotArrived(SOURCE, endpoints(1, 2), server_options={ONE: ServerOptions(3)}))
    sim.run(2)

    assert ((ONE, ServerOptions(3)),) == sim.served.server_options


def test_S03_multiple_jobs_behind_one_name_are_logged_once() -> None:
    """
    All are served, because any job may register the name.
    """
    sim = probing()
    for _ in range(2):
        sim.send(SnapshotArrived(SOURCE, endpoints(1), jobs=("mine", "theirs")))

    (line,) = sim.notes("service.multiple_jobs")
    assert ["mine", "theirs"] == line.fields["jobs"]
    assert "SERVICE_JOB" in line.fields["hint"]


def test_invalid_tags_are_counted() -> None:
    """
    The log line of the change contains the counts.
    """
    sim = probing()
    sim.send(SnapshotArrived(SOURCE, endpoints(1), invalid_tags=2, skipped=3))

    (line,) = sim.notes("endpoints.changed")
    assert ("warning", 2, 3) == (
        line.level,
        line.fields["invalid_tags"],
        line.fields["skipped"],
    )


# ------------------------------------------------------------------------------ the lame duck


def test_D17_a_lame_duck_is_not_ready_and_serves() -> None:
    """
    The phase begins LAME_DUCK before the deadline and is logged once.
    """
    sim = probing(TTL="60s", LAME_DUCK="5s").serve(1)
    sim.run(53)
    assert sim.state.view.ready

    sim.run(2)
    assert (Mode.DRAINING, endpoints(1)) == (sim.served.mode, sim.served.endpoints)
    assert not sim.state.view.ready
    assert 1 == len(sim.notes("lame_duck"))


def test_a_lame_duck_ignores_the_rate_limit_of_reloads() -> None:
    """
    READY_PATH must return 503 in time.
    """
    sim = probing(TTL="60s", LAME_DUCK="5s", RELOAD_INTERVAL="20s").serve(1)
    sim.run(50)
    for port in (2, 3, 4):
        sim.send(snapshot(port))
        sim.run(0.5)
    sim.run(4.0)
    sim.send(snapshot(5))
    sim.run(0.4)

    assert Mode.DRAINING is sim.served.mode


# -------------------------------------------------------------------------------------- cache


def test_served_endpoints_are_cached() -> None:
    """
    The cache contains the ready endpoints and the age of the answer.
    """
    sim = probing(FakeSystem(endpoints_ready=False)).serve(1, 2)
    sim.send(probed(HealthState.READY, ONE))
    sim.run(1)

    cached = sim.commands(SaveCache)[-1].caches[SOURCE]
    assert (endpoints(1, 2), frozenset({ONE})) == (cached.endpoints, cached.ready)
    assert 0 < cached.age < 3


def test_the_age_in_the_cache_is_renewed() -> None:
    """
    An unchanged answer renews it, at most twice a minute.
    """
    sim = probing().serve(1)
    before = len(sim.commands(SaveCache))
    for _ in range(12):
        sim.send(snapshot(1))
        sim.run(10)

    assert 3 <= len(sim.commands(SaveCache)) - before <= 4
    assert sim.commands(SaveCache)[-1].caches[SOURCE].age <= 10


def test_a_restart_without_the_registry_serves_the_cache() -> None:
    """
    Cached endpoints are served once a probe passes, and their age is logged.
    """
    sim = probing()
    caches = {
        SOURCE: CachedEndpoints(endpoints(1, 2), {TWO: ServerOptions(3)}, frozenset({ONE}), 90.0)
    }
    sim.state, commands = load_cache(sim.state, caches, sim.now)
    sim.execute(commands)
    sim.send(DiscoveryFailed(SOURCE, "connection refused", 0.1))
    sim.run(0.1)

    assert (1, 2) == served(sim)
    assert ((TWO, ServerOptions(3)),) == sim.served.server_options
    (line,) = sim.notes("discovery.restored")
    assert (90.0, 2) == (line.fields["answer_age"], line.fields["endpoints"])
    (failed,) = sim.notes("discovery.failed")
    assert (90.0, 2) == (failed.fields["answer_age"], failed.fields["endpoints_kept"])
    assert 1 == len(sim.commands(SpawnMaster))


def test_an_answer_replaces_the_cache() -> None:
    """
    Cached endpoints are dropped once the registry has answered.
    """
    sim = probing()
    caches = {SOURCE: CachedEndpoints(endpoints(1), {}, frozenset({ONE}), 90.0)}
    sim.state, commands = load_cache(sim.state, caches, sim.now)
    sim.execute(commands)
    sim.send(snapshot(2))
    sim.run(1)

    assert (2,) == served(sim)


def test_a_source_that_never_answered_is_not_cached() -> None:
    """
    No cache is saved for it.
    """
    sim = probing()
    sim.send(DiscoveryFailed(SOURCE, "unreachable", 1.0))
    sim.run(5)

    assert [] == sim.commands(SaveCache)


# --------------------------------------------------------------------------------- suspicions


def test_a_failed_connection_of_nginx_leads_to_a_probe_and_nothing_else() -> None:
    """
    Suspects that may get requests are probed; one that is gone, invented or failing is not.
    """
    sim = probing().serve(1, 2, 3)
    sim.send(probed(HealthState.SLOW, TWO))
    sim.send(probed(HealthState.FAILING, THREE))
    sim.run(5)
    before = sim.served
    commands = sim.send(EndpointsSuspected(frozenset({ONE, TWO, THREE, Endpoint("10.0.0.9", 1)})))

    assert [ProbeNow(frozenset({ONE, TWO}))] == commands
    assert [] == sim.send(EndpointsSuspected(frozenset({THREE})))
    sim.run(5)
    assert before == sim.served


def test_without_probes_suspects_have_no_effect() -> None:
    """
    HEALTH_CHECK=off serves whatever is listed.
    """
    sim = probing(HEALTH_CHECK="off").serve(1, 2)

    assert [] == sim.send(EndpointsSuspected(frozenset({ONE, TWO})))
