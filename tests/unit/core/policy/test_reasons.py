"""
Why an endpoint is not ready: logged once, 30 s after it was listed or was ready last.
"""

from supervisor.core import probe_outcome
from supervisor.core.commands import Note, ReportProbes
from supervisor.core.events import HealthChanged, ProbesReported
from supervisor.core.model import Endpoint, HealthState
from supervisor.core.probe_outcome import Outcome
from tests.support.policy_simulation import FakeSystem, Simulation, endpoints, snapshot

ONE, TWO, THREE = endpoints(1, 2, 3)
NOT_FOUND = probe_outcome.responded(404, is_accepted=False)


def loading(*ports: int, **variables: str) -> Simulation:
    """Return a simulation whose listed endpoints are not ready."""
    system = FakeSystem(endpoints_ready=False)
    return Simulation({"HEALTH_PATH": "/x", **variables, "HEALTH_CHECK": ""}, system=system).serve(
        *ports
    )


def answer(sim: Simulation, outcomes: dict[Endpoint, Outcome]) -> list[Note]:
    """Report outcomes for the endpoints of the last request, and return the lines."""
    asked = sim.commands(ReportProbes)[-1].endpoints
    return [each for each in sim.send(ProbesReported(asked, outcomes)) if isinstance(each, Note)]


def test_the_reason_is_requested_after_30_s_and_logged_once() -> None:
    """
    It names the endpoint, the outcome and the next step.
    """
    sim = loading(1)
    listed_at = sim.now - 1.0
    sim.run(100)

    assert [listed_at + 30.0] == sim.times(ReportProbes)
    (line,) = answer(sim, {ONE: NOT_FOUND})
    assert ("health.not_ready", "warning") == (line.event, line.level)
    assert (["10.0.0.1:1"], "HTTP 404") == (line.fields["endpoints"], line.fields["last_probe"])
    assert "HEALTH_PATH" in line.fields["hint"]


def test_an_endpoint_that_becomes_ready_in_time_needs_no_reason() -> None:
    """
    Most replicas load for a while.
    """
    sim = loading(1)
    sim.run(28)
    sim.send(HealthChanged({ONE: HealthState.READY}))
    sim.run(100)

    assert [] == sim.times(ReportProbes)


def test_one_that_stops_being_ready_gets_a_reason_30_s_later() -> None:
    """
    Once for each time that it is not ready, whatever other changes there are meanwhile.
    """
    sim = loading(1, 2)
    sim.send(HealthChanged(dict.fromkeys((ONE, TWO), HealthState.READY)))
    sim.run(100)
    for _ in range(2):
        lost_at = sim.now
        sim.send(HealthChanged({ONE: HealthState.SLOW}))
        sim.run(10)
        sim.send(HealthChanged({ONE: HealthState.FAILING, TWO: HealthState.READY}))
        sim.run(40)
        assert lost_at + 30.0 == sim.times(ReportProbes)[-1]
        sim.send(HealthChanged({ONE: HealthState.SLOW}))
        sim.run(40)
        sim.send(HealthChanged({ONE: HealthState.READY}))

    assert [{ONE}, {ONE}] == [command.endpoints for command in sim.commands(ReportProbes)]


def test_endpoints_are_grouped_by_cause() -> None:
    """
    A service whose instances all fail alike needs one line.
    """
    sim = loading(*range(1, 9))
    sim.run(40)
    outcomes = dict.fromkeys(endpoints(1, 2, 3, 4, 5, 6, 7), NOT_FOUND)
    first, second, third = answer(sim, {**outcomes, TWO: probe_outcome.REFUSED})

    assert "and 1 more" == first.fields["endpoints"][-1]
    assert ["10.0.0.1:2"] == second.fields["endpoints"]
    assert ("none", ["10.0.0.1:8"]) == (third.fields["last_probe"], third.fields["endpoints"])


def test_endpoints_listed_within_a_second_are_reported_together() -> None:
    """
    A group that is scaled up lists its instances one by one.
    """
    sim = loading(1)
    sim.send(snapshot(1, 2))
    sim.run(0.5)
    sim.send(snapshot(1, 2, 3))
    sim.run(60)

    assert [{ONE, TWO}, {THREE}] == [each.endpoints for each in sim.commands(ReportProbes)]


def test_an_endpoint_that_is_gone_or_ready_by_then_is_not_reported() -> None:
    """
    The answer of the prober may be late; one listed again counts as new.
    """
    sim = loading(1, 2)
    sim.run(30)
    sim.send(snapshot(1))
    sim.send(HealthChanged({ONE: HealthState.READY}))

    assert [] == answer(sim, {ONE: NOT_FOUND, TWO: NOT_FOUND})
    sim.run(5)
    sim.send(snapshot(1, 2))
    sim.run(40)
    assert {TWO} == sim.commands(ReportProbes)[-1].endpoints


def test_without_probes_there_is_no_reason() -> None:
    """
    HEALTH_CHECK=off serves whatever is listed.
    """
    sim = Simulation({"HEALTH_CHECK": "off"}).serve(1)
    sim.run(100)

    assert [] == sim.times(ReportProbes)
