"""
Histories of health: who is ready, what is held back, what is remembered.
"""

from supervisor.core.commands import SaveCache, SetProbeTargets, SpawnMaster, Stage
from supervisor.core.events import DiscoveryFailed, HealthChanged, ProbesFellBack, SnapshotArrived
from supervisor.core.model import CachedEndpoints, Endpoint, HealthState, Mode, ServerOptions
from supervisor.core.policy.decide import load_cache
from tests.support.policy_simulation import SOURCE, FakeSystem, Simulation, endpoints, snapshot

ONE, TWO, THREE = endpoints(1, 2, 3)


def probing(system: FakeSystem | None = None, **configured: str) -> Simulation:
    """Return a play with probes by TCP."""
    return Simulation({"HEALTH_CHECK": "tcp", **configured}, system=system or FakeSystem())


def found(health_state: HealthState, *which: Endpoint) -> HealthChanged:
    """Return what the probes say."""
    return HealthChanged(dict.fromkeys(which, health_state))


def served(sim: Simulation) -> tuple[int, ...]:
    """Return the ports that are live."""
    return tuple(endpoint.port for endpoint in sim.served.endpoints)


# ----------------------------------------------------------------------------------- starting


def test_the_first_start_waits_for_the_first_verdicts() -> None:
    """
    So that the usual start needs no reload.
    """
    sim = probing()
    sim.send(snapshot(1, 2))
    began = sim.now
    sim.run(1.0)

    assert [began + 0.026] == [round(at, 3) for at in sim.times(Stage)]
    assert (1, 2) == served(sim)


def test_the_first_start_does_not_wait_for_ever() -> None:
    """
    START_WAIT later nginx starts, and says that the service is starting.
    """
    sim = probing(FakeSystem(probe_time=None))
    sim.send(snapshot(1))
    began = sim.now
    sim.run(1.0)

    assert [began + 0.25] == sim.times(Stage)
    assert ((), Mode.STARTING) == (sim.served.endpoints, sim.served.mode)


def test_an_endpoint_that_becomes_ready_serves() -> None:
    """
    And is named in the log.
    """
    sim = probing(FakeSystem(endpoints_ready=False)).serve(1)
    assert Mode.STARTING is sim.served.mode

    sim.send(found(HealthState.READY, ONE))
    sim.run(1.0)

    assert (1,) == served(sim)
    (said,) = sim.notes("health.changed")
    assert ["10.0.0.1:1"] == said.fields["became_ready"]
    assert 1 == said.fields["ready"]


def test_an_endpoint_that_is_lost_leaves() -> None:
    """
    The others serve on.
    """
    sim = probing().serve(1, 2)
    sim.send(found(HealthState.FAILING, TWO))
    sim.run(1.0)

    assert (1,) == served(sim)
    said = sim.notes("health.changed")[-1]
    assert ("warning", ["10.0.0.1:2"]) == (said.level, said.fields["lost"])


def test_many_endpoints_are_counted_and_not_all_named() -> None:
    """
    A line of the log stays a line.
    """
    sim = probing().serve(*range(1, 10))

    (said,) = sim.notes("health.changed")
    assert "and 4 more" == said.fields["became_ready"][-1]


# ------------------------------------------------------------------------------- what is held


def test_what_leaves_and_what_comes_is_one_change() -> None:
    """
    A change waits for the first verdict on the new ones.
    """
    sim = probing().serve(1, 2)
    sim.run(10)
    before = len(sim.commands(Stage))
    sim.send(snapshot(1, 3))
    sim.run(2.0)

    assert before + 1 == len(sim.commands(Stage))
    assert (1, 3) == served(sim)


def test_a_removal_is_on_its_way_at_once() -> None:
    """
    Nobody is asked about it first.
    """
    sim = probing().serve(1, 2)
    sim.run(10)
    sim.send(snapshot(1))
    sim.run(0)

    assert endpoints(1) == sim.commands(Stage)[-1].plan.endpoints
    assert sim.now == sim.times(Stage)[-1]


def test_a_removal_waits_for_a_slow_newcomer_only_a_moment() -> None:
    """
    50 ms after the answer at most, it is on its way.
    """
    sim = probing().serve(1, 2)
    sim.run(10)
    sim.system.probe_time = None
    at = sim.now
    sim.send(snapshot(1, 3))
    sim.run(2.0)

    assert at + 0.035 == sim.times(Stage)[-1]
    assert (1,) == served(sim)


def test_a_replaced_set_serves_on_until_its_successor_is_ready() -> None:
    """
    Nobody sees a gap, and there is one reload.
    """
    sim = probing().serve(1)
    sim.run(10)
    before = len(sim.commands(Stage))
    sim.system.endpoints_ready = False
    sim.send(snapshot(2))
    sim.run(10)
    assert (1,) == served(sim)
    assert sim.notes("endpoints.warning")

    sim.send(found(HealthState.READY, TWO))
    sim.run(2)
    assert (2,) == served(sim)
    assert before + 1 == len(sim.commands(Stage))


def test_a_replaced_set_does_not_serve_for_ever() -> None:
    """
    30 s are long enough for a last goodbye.
    """
    sim = probing().serve(1)
    sim.system.endpoints_ready = False
    sim.send(snapshot(2))
    sim.run(29)
    assert (1,) == served(sim)

    sim.run(2)
    assert Mode.STARTING is sim.served.mode
    assert {TWO} == sim.commands(SetProbeTargets)[-1].endpoints


def test_a_remark_is_made_once() -> None:
    """
    Until it is over and comes again.
    """
    sim = probing().serve(1, 2)
    sim.send(found(HealthState.FAILING, ONE, TWO))
    sim.run(5)
    assert (1, 2) == served(sim)
    sim.send(DiscoveryFailed(SOURCE, "away", 1.0))
    assert 1 == len(sim.notes("endpoints.warning"))

    sim.send(found(HealthState.READY, ONE, TWO))
    sim.send(found(HealthState.FAILING, ONE, TWO))
    assert 2 == len(sim.notes("endpoints.warning"))


# --------------------------------------------------------------------------------- the probes


def test_what_is_known_is_probed() -> None:
    """
    Each change of it is told once, with those that are leaving.
    """
    sim = probing().serve(1, 2)
    sim.system.endpoints_ready = False
    sim.send(snapshot(3))

    first, second = sim.commands(SetProbeTargets)
    assert (frozenset({ONE, TWO}), frozenset()) == (first.endpoints, first.leaving)
    assert ({ONE, TWO, THREE}, {ONE, TWO}) == (second.endpoints, second.leaving)


def test_nobody_is_probed_after_the_end_has_begun() -> None:
    """
    The replicas may be stopping too.
    """
    sim = probing(TTL="10s").serve(1)
    sim.run(20)

    assert frozenset() == sim.commands(SetProbeTargets)[-1].endpoints


def test_without_probes_nobody_is_watched() -> None:
    """
    HEALTH_CHECK=off.
    """
    sim = probing(HEALTH_CHECK="off").serve(1)

    assert [] == sim.commands(SetProbeTargets)
    assert (1,) == served(sim)


def test_a_way_of_probing_that_is_not_allowed_is_told() -> None:
    """
    With what would help.
    """
    sim = probing().serve(1)
    sim.send(ProbesFellBack("403", "nomad acl policy apply"))

    (said,) = sim.notes("probes.fell_back")
    assert "nomad acl policy apply" == said.fields["hint"]


# --------------------------------------------------------------------------- tags, jobs, shares


def test_a_changed_weight_is_a_change() -> None:
    """
    Though the endpoints are the same.
    """
    sim = probing().serve(1, 2)
    sim.send(SnapshotArrived(SOURCE, endpoints(1, 2), server_options={ONE: ServerOptions(3)}))
    sim.run(2)

    assert ((ONE, ServerOptions(3)),) == sim.served.server_options


def test_S03_several_jobs_behind_one_name_are_told_once() -> None:
    """
    All are served; anybody may register the name.
    """
    sim = probing()
    for _ in range(2):
        sim.send(SnapshotArrived(SOURCE, endpoints(1), jobs=("mine", "theirs")))

    (said,) = sim.notes("service.multiple_jobs")
    assert ["mine", "theirs"] == said.fields["jobs"]
    assert "SERVICE_JOB" in said.fields["hint"]


def test_tags_that_make_no_sense_are_counted() -> None:
    """
    In the line that tells of the change.
    """
    sim = probing()
    sim.send(SnapshotArrived(SOURCE, endpoints(1), invalid_tags=2, skipped=3))

    (said,) = sim.notes("endpoints.changed")
    assert ("warning", 2, 3) == (
        said.level,
        said.fields["invalid_tags"],
        said.fields["skipped"],
    )


# ------------------------------------------------------------------------------ the lame duck


def test_D17_a_lame_duck_is_not_ready_and_serves() -> None:
    """
    LAME_DUCK before the deadline, once.
    """
    sim = probing(TTL="60s", LAME_DUCK="5s").serve(1)
    sim.run(53)
    assert sim.state.view.ready

    sim.run(2)
    assert (Mode.DRAINING, endpoints(1)) == (sim.served.mode, sim.served.endpoints)
    assert not sim.state.view.ready
    assert 1 == len(sim.notes("lame_duck"))


def test_a_lame_duck_does_not_wait_for_the_bucket_of_reloads() -> None:
    """
    Whoever asks READY_PATH is to know in time.
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


# ------------------------------------------------------------------------------------- memory


def test_what_is_served_is_remembered() -> None:
    """
    With who was ready, and how old it is.
    """
    sim = probing(FakeSystem(endpoints_ready=False)).serve(1, 2)
    sim.send(found(HealthState.READY, ONE))
    sim.run(1)

    memory = sim.commands(SaveCache)[-1].caches[SOURCE]
    assert (endpoints(1, 2), frozenset({ONE})) == (memory.endpoints, memory.ready)
    assert 0 < memory.age < 3


def test_the_age_of_the_memory_is_kept_true() -> None:
    """
    An answer without news makes it younger, twice a minute at most.
    """
    sim = probing().serve(1)
    before = len(sim.commands(SaveCache))
    for _ in range(12):
        sim.send(snapshot(1))
        sim.run(10)

    assert 3 <= len(sim.commands(SaveCache)) - before <= 4
    assert sim.commands(SaveCache)[-1].caches[SOURCE].age <= 10


def test_a_restart_while_the_registry_is_away_serves_what_was_remembered() -> None:
    """
    As soon as the probes agree, and it says how old that is.
    """
    sim = probing()
    caches = {
        SOURCE: CachedEndpoints(endpoints(1, 2), {TWO: ServerOptions(3)}, frozenset({ONE}), 90.0)
    }
    sim.state, commands = load_cache(sim.state, caches, sim.now)
    sim.execute(commands)
    sim.send(DiscoveryFailed(SOURCE, "nobody listens", 0.1))
    sim.run(0.1)

    assert (1, 2) == served(sim)
    assert ((TWO, ServerOptions(3)),) == sim.served.server_options
    (said,) = sim.notes("discovery.restored")
    assert (90.0, 2) == (said.fields["answer_age"], said.fields["endpoints"])
    (failed,) = sim.notes("discovery.failed")
    assert (90.0, 2) == (failed.fields["answer_age"], failed.fields["endpoints_kept"])
    assert 1 == len(sim.commands(SpawnMaster))


def test_an_answer_goes_before_the_memory() -> None:
    """
    Nothing of it is served once the registry has spoken.
    """
    sim = probing()
    caches = {SOURCE: CachedEndpoints(endpoints(1), {}, frozenset({ONE}), 90.0)}
    sim.state, commands = load_cache(sim.state, caches, sim.now)
    sim.execute(commands)
    sim.send(snapshot(2))
    sim.run(1)

    assert (2,) == served(sim)


def test_nothing_is_remembered_of_a_source_that_never_answered() -> None:
    """
    There is nothing to remember.
    """
    sim = probing()
    sim.send(DiscoveryFailed(SOURCE, "away", 1.0))
    sim.run(5)

    assert [] == sim.commands(SaveCache)
