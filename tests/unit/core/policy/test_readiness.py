"""
Histories of health: who is ready, what is held back, what is remembered.
"""

from supervisor.core.commands import SaveCache, SetProbeTargets, SpawnMaster, Stage
from supervisor.core.events import DiscoveryFailed, HealthChanged, ProbesFellBack, SnapshotArrived
from supervisor.core.model import CachedEndpoints, Endpoint, HealthState, Mode, ServerOptions
from supervisor.core.policy.decide import load_cache
from tests.support.play import SOURCE, Play, World, arrives, endpoints

ONE, TWO, THREE = endpoints(1, 2, 3)


def probing(world: World | None = None, **configured: str) -> Play:
    """Return a play with probes by TCP."""
    return Play({"HEALTH_CHECK": "tcp", **configured}, world=world or World())


def found(health_state: HealthState, *which: Endpoint) -> HealthChanged:
    """Return what the probes say."""
    return HealthChanged(dict.fromkeys(which, health_state))


def served(play: Play) -> tuple[int, ...]:
    """Return the ports that are live."""
    return tuple(endpoint.port for endpoint in play.served.endpoints)


# ----------------------------------------------------------------------------------- starting


def test_the_first_start_waits_for_the_first_verdicts() -> None:
    """
    So that the usual start needs no reload.
    """
    play = probing()
    play.send(arrives(1, 2))
    began = play.now
    play.run(1.0)

    assert [began + 0.026] == [round(at, 3) for at in play.times(Stage)]
    assert (1, 2) == served(play)


def test_the_first_start_does_not_wait_for_ever() -> None:
    """
    START_WAIT later nginx starts, and says that the service is starting.
    """
    play = probing(World(probe=None))
    play.send(arrives(1))
    began = play.now
    play.run(1.0)

    assert [began + 0.25] == play.times(Stage)
    assert ((), Mode.STARTING) == (play.served.endpoints, play.served.mode)


def test_an_endpoint_that_becomes_ready_serves() -> None:
    """
    And is named in the log.
    """
    play = probing(World(ready=False)).serve(1)
    assert Mode.STARTING is play.served.mode

    play.send(found(HealthState.READY, ONE))
    play.run(1.0)

    assert (1,) == served(play)
    (said,) = play.notes("health.changed")
    assert ["10.0.0.1:1"] == said.fields["became_ready"]
    assert 1 == said.fields["ready"]


def test_an_endpoint_that_is_lost_leaves() -> None:
    """
    The others serve on.
    """
    play = probing().serve(1, 2)
    play.send(found(HealthState.FAILING, TWO))
    play.run(1.0)

    assert (1,) == served(play)
    said = play.notes("health.changed")[-1]
    assert ("warning", ["10.0.0.1:2"]) == (said.level, said.fields["lost"])


def test_many_endpoints_are_counted_and_not_all_named() -> None:
    """
    A line of the log stays a line.
    """
    play = probing().serve(*range(1, 10))

    (said,) = play.notes("health.changed")
    assert "and 4 more" == said.fields["became_ready"][-1]


# ------------------------------------------------------------------------------- what is held


def test_what_leaves_and_what_comes_is_one_change() -> None:
    """
    A change waits for the first verdict on the new ones.
    """
    play = probing().serve(1, 2)
    play.run(10)
    before = len(play.all(Stage))
    play.send(arrives(1, 3))
    play.run(2.0)

    assert before + 1 == len(play.all(Stage))
    assert (1, 3) == served(play)


def test_a_removal_is_on_its_way_at_once() -> None:
    """
    Nobody is asked about it first.
    """
    play = probing().serve(1, 2)
    play.run(10)
    play.send(arrives(1))
    play.run(0)

    assert endpoints(1) == play.all(Stage)[-1].plan.endpoints
    assert play.now == play.times(Stage)[-1]


def test_a_removal_waits_for_a_slow_newcomer_only_a_moment() -> None:
    """
    50 ms after the answer at most, it is on its way.
    """
    play = probing().serve(1, 2)
    play.run(10)
    play.world.probe = None
    at = play.now
    play.send(arrives(1, 3))
    play.run(2.0)

    assert at + 0.035 == play.times(Stage)[-1]
    assert (1,) == served(play)


def test_a_replaced_set_serves_on_until_its_successor_is_ready() -> None:
    """
    Nobody sees a gap, and there is one reload.
    """
    play = probing().serve(1)
    play.run(10)
    before = len(play.all(Stage))
    play.world.ready = False
    play.send(arrives(2))
    play.run(10)
    assert (1,) == served(play)
    assert play.notes("endpoints.warning")

    play.send(found(HealthState.READY, TWO))
    play.run(2)
    assert (2,) == served(play)
    assert before + 1 == len(play.all(Stage))


def test_a_replaced_set_does_not_serve_for_ever() -> None:
    """
    30 s are long enough for a last goodbye.
    """
    play = probing().serve(1)
    play.world.ready = False
    play.send(arrives(2))
    play.run(29)
    assert (1,) == served(play)

    play.run(2)
    assert Mode.STARTING is play.served.mode
    assert {TWO} == play.all(SetProbeTargets)[-1].endpoints


def test_a_remark_is_made_once() -> None:
    """
    Until it is over and comes again.
    """
    play = probing().serve(1, 2)
    play.send(found(HealthState.FAILING, ONE, TWO))
    play.run(5)
    assert (1, 2) == served(play)
    play.send(DiscoveryFailed(SOURCE, "away", 1.0))
    assert 1 == len(play.notes("endpoints.warning"))

    play.send(found(HealthState.READY, ONE, TWO))
    play.send(found(HealthState.FAILING, ONE, TWO))
    assert 2 == len(play.notes("endpoints.warning"))


# --------------------------------------------------------------------------------- the probes


def test_what_is_known_is_probed() -> None:
    """
    Each change of it is told once, with those that are leaving.
    """
    play = probing().serve(1, 2)
    play.world.ready = False
    play.send(arrives(3))

    first, second = play.all(SetProbeTargets)
    assert (frozenset({ONE, TWO}), frozenset()) == (first.endpoints, first.leaving)
    assert ({ONE, TWO, THREE}, {ONE, TWO}) == (second.endpoints, second.leaving)


def test_nobody_is_probed_after_the_end_has_begun() -> None:
    """
    The replicas may be stopping too.
    """
    play = probing(TTL="10s").serve(1)
    play.run(20)

    assert frozenset() == play.all(SetProbeTargets)[-1].endpoints


def test_without_probes_nobody_is_watched() -> None:
    """
    HEALTH_CHECK=off.
    """
    play = probing(HEALTH_CHECK="off").serve(1)

    assert [] == play.all(SetProbeTargets)
    assert (1,) == served(play)


def test_a_way_of_probing_that_is_not_allowed_is_told() -> None:
    """
    With what would help.
    """
    play = probing().serve(1)
    play.send(ProbesFellBack("403", "nomad acl policy apply"))

    (said,) = play.notes("probes.fell_back")
    assert "nomad acl policy apply" == said.fields["hint"]


# --------------------------------------------------------------------------- tags, jobs, shares


def test_a_changed_weight_is_a_change() -> None:
    """
    Though the endpoints are the same.
    """
    play = probing().serve(1, 2)
    play.send(SnapshotArrived(SOURCE, endpoints(1, 2), server_options={ONE: ServerOptions(3)}))
    play.run(2)

    assert ((ONE, ServerOptions(3)),) == play.served.server_options


def test_S03_several_jobs_behind_one_name_are_told_once() -> None:
    """
    All are served; anybody may register the name.
    """
    play = probing()
    for _ in range(2):
        play.send(SnapshotArrived(SOURCE, endpoints(1), jobs=("mine", "theirs")))

    (said,) = play.notes("service.multiple_jobs")
    assert ["mine", "theirs"] == said.fields["jobs"]
    assert "SERVICE_JOB" in said.fields["hint"]


def test_tags_that_make_no_sense_are_counted() -> None:
    """
    In the line that tells of the change.
    """
    play = probing()
    play.send(SnapshotArrived(SOURCE, endpoints(1), invalid_tags=2, skipped=3))

    (said,) = play.notes("endpoints.changed")
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
    play = probing(TTL="60s", LAME_DUCK="5s").serve(1)
    play.run(53)
    assert play.state.view.ready

    play.run(2)
    assert (Mode.DRAINING, endpoints(1)) == (play.served.mode, play.served.endpoints)
    assert not play.state.view.ready
    assert 1 == len(play.notes("lame_duck"))


def test_a_lame_duck_does_not_wait_for_the_bucket_of_reloads() -> None:
    """
    Whoever asks READY_PATH is to know in time.
    """
    play = probing(TTL="60s", LAME_DUCK="5s", RELOAD_INTERVAL="20s").serve(1)
    play.run(50)
    for port in (2, 3, 4):
        play.send(arrives(port))
        play.run(0.5)
    play.run(4.0)
    play.send(arrives(5))
    play.run(0.4)

    assert Mode.DRAINING is play.served.mode


# ------------------------------------------------------------------------------------- memory


def test_what_is_served_is_remembered() -> None:
    """
    With who was ready, and how old it is.
    """
    play = probing(World(ready=False)).serve(1, 2)
    play.send(found(HealthState.READY, ONE))
    play.run(1)

    memory = play.all(SaveCache)[-1].caches[SOURCE]
    assert (endpoints(1, 2), frozenset({ONE})) == (memory.endpoints, memory.ready)
    assert 0 < memory.age < 3


def test_the_age_of_the_memory_is_kept_true() -> None:
    """
    An answer without news makes it younger, twice a minute at most.
    """
    play = probing().serve(1)
    before = len(play.all(SaveCache))
    for _ in range(12):
        play.send(arrives(1))
        play.run(10)

    assert 3 <= len(play.all(SaveCache)) - before <= 4
    assert play.all(SaveCache)[-1].caches[SOURCE].age <= 10


def test_a_restart_while_the_registry_is_away_serves_what_was_remembered() -> None:
    """
    As soon as the probes agree, and it says how old that is.
    """
    play = probing()
    caches = {
        SOURCE: CachedEndpoints(endpoints(1, 2), {TWO: ServerOptions(3)}, frozenset({ONE}), 90.0)
    }
    play.state, commands = load_cache(play.state, caches, play.now)
    play._take(commands)
    play.send(DiscoveryFailed(SOURCE, "nobody listens", 0.1))
    play.run(0.1)

    assert (1, 2) == served(play)
    assert ((TWO, ServerOptions(3)),) == play.served.server_options
    (said,) = play.notes("discovery.restored")
    assert (90.0, 2) == (said.fields["answer_age"], said.fields["endpoints"])
    (failed,) = play.notes("discovery.failed")
    assert (90.0, 2) == (failed.fields["answer_age"], failed.fields["endpoints_kept"])
    assert 1 == len(play.all(SpawnMaster))


def test_an_answer_goes_before_the_memory() -> None:
    """
    Nothing of it is served once the registry has spoken.
    """
    play = probing()
    caches = {SOURCE: CachedEndpoints(endpoints(1), {}, frozenset({ONE}), 90.0)}
    play.state, commands = load_cache(play.state, caches, play.now)
    play._take(commands)
    play.send(arrives(2))
    play.run(1)

    assert (2,) == served(play)


def test_nothing_is_remembered_of_a_source_that_never_answered() -> None:
    """
    There is nothing to remember.
    """
    play = probing()
    play.send(DiscoveryFailed(SOURCE, "away", 1.0))
    play.run(5)

    assert [] == play.all(SaveCache)
