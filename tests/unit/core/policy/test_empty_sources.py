"""
A source that lists no endpoints has a cause after 10 s, in the log and in the state.
"""

from supervisor.core.commands import FindServices, Note
from supervisor.core.events import ServicesListed, SnapshotArrived
from supervisor.core.model import Unselected
from tests.support.policy_simulation import SOURCE, Simulation, snapshot

FILTERED = SnapshotArrived(SOURCE, (), skipped=2, unselected=Unselected(2, tags=("b",)))


def lines(sim: Simulation) -> list[Note]:
    """Return the logged causes."""
    return sim.notes("discovery.no_endpoints")


def cause(sim: Simulation) -> str:
    """Return the cause in the state."""
    return sim.state.endpoint_set.sources[SOURCE].cause


def test_services_are_looked_for_after_10_s_and_the_cause_is_logged_once() -> None:
    """
    From the first empty answer on, which is not confirmed yet.
    """
    sim = Simulation()
    began = sim.now
    sim.send(snapshot(confirmed=False))
    sim.run(1.0)
    for _ in range(5):
        sim.send(snapshot())
        sim.run(10)

    assert [began + 10.0] == sim.times(FindServices)
    assert [] == lines(sim)
    sim.send(ServicesListed("web", near=("webb",)))
    line = lines(sim)[0]
    assert ("warning", SOURCE, "web", "default") == (
        line.level,
        *(line.fields[name] for name in ("source", "service", "namespace")),
    )
    assert "webb" in line.fields["hint"]
    assert "not registered" not in cause(sim)
    assert "is registered in namespace 'default'" in cause(sim)


def test_instances_end_it_and_another_time_counts_anew() -> None:
    """
    An answer of Nomad that comes after them changes nothing.
    """
    sim = Simulation()
    sim.send(snapshot())
    sim.run(11)
    sim.send(snapshot(1))
    sim.send(ServicesListed("web"))
    assert ("", []) == (cause(sim), lines(sim))
    sim.send(snapshot())
    sim.run(9)
    assert 1 == len(sim.commands(FindServices))
    sim.run(2)
    assert 2 == len(sim.commands(FindServices))
    sim.send(ServicesListed("web"))
    assert cause(sim)
    sim.send(snapshot(1))
    assert "" == cause(sim)


def test_a_service_that_is_empty_for_a_moment_has_no_cause() -> None:
    """
    A group that restarts its tasks is empty for some milliseconds.
    """
    sim = Simulation().serve(1)
    sim.send(snapshot(confirmed=False))
    sim.run(1)
    sim.send(snapshot(1))
    sim.run(60)

    assert [] == sim.commands(FindServices)


def test_filters_that_select_nothing_are_the_cause() -> None:
    """
    No query is needed; repeated answers change nothing.
    """
    sim = Simulation({"SERVICE_TAGS": "a"})
    for _ in range(9):
        sim.send(FILTERED)
        sim.run(5)

    assert [] == sim.commands(FindServices)
    (line,) = lines(sim)
    assert "SERVICE_TAGS=a; their tags: b" in line.fields["reason"]
    assert line.fields["reason"] in cause(sim)


def test_another_cause_is_reported_10_s_later() -> None:
    """
    The service is registered, but filtered: what was logged before is wrong by then.
    """
    sim = Simulation({"SERVICE_TAGS": "a"})
    sim.send(snapshot())
    sim.run(11)
    sim.send(FILTERED)
    sim.send(ServicesListed("web"))
    assert [] == lines(sim)
    sim.run(11)
    assert 1 == len(lines(sim))
    sim.send(snapshot())
    assert "" == cause(sim)
    sim.run(11)
    assert 2 == len(sim.commands(FindServices))


def test_each_source_has_its_cause() -> None:
    """
    One misspelt name of two is reported while the other one serves.
    """
    sim = Simulation({"SERVICE_NAME": "web,apii"})
    sim.send(snapshot(1))
    sim.send(SnapshotArrived("nomad:apii", ()))
    sim.run(11)

    assert [FindServices("apii")] == sim.commands(FindServices)


def test_an_empty_file_needs_no_query() -> None:
    """
    Its setting is named.
    """
    sim = Simulation()
    sim.state = Simulation({"SERVICE_NAME": "", "ENDPOINTS_FILE": "/x"}).state
    sources = {"file": next(iter(Simulation().state.endpoint_set.sources.values()))}
    object.__setattr__(sim.state.endpoint_set, "sources", sources)
    sim.send(SnapshotArrived("file", ()))
    sim.run(11)

    (line,) = lines(sim)
    assert "ENDPOINTS_FILE='/x'" in line.fields["reason"]
    assert line.fields["service"] is None
