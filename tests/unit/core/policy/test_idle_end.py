"""
IDLE_TIMEOUT: a service that nobody uses ends as at its deadline, and one that is used never does.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import idle
from supervisor.core.commands import Exit, Reply, RequestJobStop
from supervisor.core.events import DeadlineRequested, JobStopAnswered, SignalArrived, UseObserved
from supervisor.core.lifecycle import Phase
from supervisor.core.policy.idle_end import REASON, on_use_observed
from tests.support.policy_simulation import FakeSystem, Simulation, snapshot

#: The idle time of these simulations, and the seconds between two looks.
TIMEOUT = 600.0
EVERY = 5.0

QUIET = UseObserved()


def simulate(**configured: str) -> Simulation:
    """
    Serve one endpoint; the first look has started the clock.
    """
    variables = {"IDLE_TIMEOUT": "10m", "TTL": "1d", **configured}
    sim = Simulation(variables).serve(1)
    sim.send(QUIET)
    return sim


def look(sim: Simulation, seconds: float, seen: UseObserved = QUIET) -> Simulation:
    """
    Look every 5 s for that long, and see the same each time.
    """
    until = sim.now + seconds
    while sim.now < until and sim.exit is None:
        sim.run(EVERY)
        if sim.exit is None:
            sim.send(seen)
    return sim


def test_nobody_for_the_whole_time_ends_it_with_code_0() -> None:
    """
    The drain begins at the first look after IDLE_TIMEOUT, and `ended.json` says why.
    """
    sim = simulate()
    began = sim.now

    look(sim, TIMEOUT - EVERY)
    assert sim.state.lifetime.phase is Phase.RUNNING
    look(sim, 3 * EVERY)

    assert sim.exit is not None
    assert (0, REASON) == (sim.exit.code, sim.exit.reason)
    assert TIMEOUT < sim.times(Exit)[0] - began < TIMEOUT + 3 * EVERY
    (line,) = sim.notes("idle.ended")
    assert line.fields["idle_for"] >= TIMEOUT


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(UseObserved(requests=1), id="a request that ended"),
        pytest.param(UseObserved(open=1, kept=1), id="a silent connection"),
        pytest.param(UseObserved(error="cannot observe requests: no space"), id="unknown"),
    ],
)
def test_use_starts_the_time_again(seen: UseObserved) -> None:
    """
    One look that saw a request, an open connection or nothing at all gives the whole time again.
    """
    sim = look(simulate(), TIMEOUT - EVERY)

    sim.run(EVERY)
    sim.send(seen)
    look(sim, TIMEOUT - EVERY)

    assert sim.exit is None
    look(sim, 3 * EVERY)
    assert sim.exit is not None


def test_a_connection_that_is_new_delays_the_end_and_is_no_use() -> None:
    """
    It may be a request that has just begun, or a TCP health check: the next look tells.
    """
    sim = look(simulate(), TIMEOUT - EVERY)

    look(sim, 2 * EVERY, UseObserved(open=1))
    assert not sim.state.lifetime.is_ending
    look(sim, EVERY)

    assert sim.state.lifetime.is_ending


def test_without_a_look_nothing_ends() -> None:
    """
    Time alone is no proof: if the watcher hangs, the deadline ends the service.
    """
    sim = simulate(TTL="1h")
    began = sim.now

    sim.run(2 * TIMEOUT)
    assert sim.exit is None
    sim.run(7200)

    assert sim.exit is not None
    assert "deadline" == sim.exit.reason
    assert 3590 < sim.times(Exit)[0] - began < 3601


def test_time_in_which_nobody_looked_does_not_count() -> None:
    """
    A machine that was suspended for longer than IDLE_TIMEOUT does not end at its first look.
    """
    sim = simulate()

    sim.run(2 * TIMEOUT)
    sim.send(QUIET)
    look(sim, TIMEOUT - EVERY)

    assert sim.exit is None


def test_the_time_counts_from_the_first_endpoint_that_is_served() -> None:
    """
    A model that loads for longer than IDLE_TIMEOUT is not ended before anybody could use it.
    """
    sim = Simulation({"IDLE_TIMEOUT": "10m", "TTL": "1d"})
    look(sim, 3 * TIMEOUT)
    assert sim.exit is None
    assert sim.state.idle.used_at is None

    sim.send(snapshot(1))
    look(sim, TIMEOUT - EVERY)
    assert sim.exit is None
    look(sim, 4 * EVERY)

    assert sim.exit is not None


def test_endpoints_that_go_do_not_stop_the_clock() -> None:
    """
    Once served, a service without endpoints is idle like any other.
    """
    sim = simulate()
    sim.send(snapshot())

    look(sim, TIMEOUT + 2 * EVERY)

    assert sim.exit is not None


def test_warnings_come_at_the_spans_that_fit() -> None:
    """
    Of WARN_AT only spans of at most half of IDLE_TIMEOUT: others would be out all the time.
    """
    sim = look(simulate(WARN_AT="1h,15m,5m,1m"), TIMEOUT)

    remaining = [line.fields["remaining"] for line in sim.notes("idle.near")]
    assert [300, 60] == pytest.approx(remaining, abs=EVERY)


@pytest.mark.parametrize("warn_at, expected", [("1h", [150.0]), ("off", [])])
def test_without_a_span_that_fits_one_warning_comes(warn_at: str, expected: list[float]) -> None:
    """
    A quarter of IDLE_TIMEOUT before the end; with WARN_AT=off none.
    """
    sim = look(simulate(WARN_AT=warn_at), TIMEOUT)

    remaining = [line.fields["remaining"] for line in sim.notes("idle.near")]
    assert expected == pytest.approx(remaining, abs=EVERY)


def test_no_warning_of_an_end_after_the_deadline() -> None:
    """
    The deadline has its own warnings.
    """
    sim = look(simulate(TTL="9m"), 500)

    assert not sim.notes("idle.near")
    assert sim.notes("deadline.near")


def test_a_request_after_the_warning_is_said() -> None:
    """
    So a person who saw the warning sees that it is over; the next idle time warns again.
    """
    sim = look(simulate(), 350)
    assert 1 == len(sim.notes("idle.near"))

    look(sim, EVERY, UseObserved(requests=3))
    (line,) = sim.notes("idle.over")
    assert 3 == line.fields["requests"]
    look(sim, 350)

    assert 2 == len(sim.notes("idle.near"))


@pytest.mark.parametrize("by, is_kept", [(3600.0, True), (-3600.0, False)])
def test_extend_starts_the_time_again(by: float, is_kept: bool) -> None:  # noqa: FBT001
    """
    Who asks for more time uses the service; who takes time away does not.
    """
    sim = look(simulate(), TIMEOUT - EVERY)

    sim.send(DeadlineRequested(1, sim.wall, by=by))
    look(sim, 3 * EVERY)

    assert [reply.accepted for reply in sim.commands(Reply)] == [True]
    assert is_kept is (sim.exit is None)


def test_a_blind_watcher_is_said_once() -> None:
    """
    The log tells why no idle end can come, and again only for another reason.
    """
    sim = look(simulate(), 10 * EVERY, UseObserved(error="cannot observe requests: x"))
    look(sim, EVERY, UseObserved(error="cannot observe requests: y"))

    reasons = [line.fields["reason"] for line in sim.notes("idle.unknown")]
    assert ["cannot observe requests: x", "cannot observe requests: y"] == reasons


def test_stop_job_ends_the_whole_job_for_the_same_reason() -> None:
    """
    AT_DEADLINE=stop-job: Nomad is asked as at the deadline; the reason stays `idle`.
    """
    variables = {
        "IDLE_TIMEOUT": "10m",
        "TTL": "1d",
        "AT_DEADLINE": "stop-job",
        "NOMAD_JOB_ID": "web",
    }
    sim = Simulation(variables, system=FakeSystem(job_stop_answer=JobStopAnswered())).serve(1)
    sim.send(QUIET)

    look(sim, TIMEOUT + 4 * EVERY)

    assert 1 == len(sim.commands(RequestJobStop))
    assert sim.exit is not None
    assert (0, REASON) == (sim.exit.code, sim.exit.reason)


def test_a_refused_job_stop_ends_the_balancer_for_the_same_reason() -> None:
    """
    Without the right to stop the job, the balancer ends alone, with code 0.
    """
    variables = {
        "IDLE_TIMEOUT": "10m",
        "TTL": "1d",
        "AT_DEADLINE": "stop-job",
        "NOMAD_JOB_ID": "web",
    }
    refused = JobStopAnswered("Nomad rejected the token (403)", 403)
    sim = Simulation(variables, system=FakeSystem(job_stop_answer=refused)).serve(1)
    sim.send(QUIET)

    look(sim, TIMEOUT + 4 * EVERY)

    assert sim.exit is not None
    assert (0, REASON) == (sim.exit.code, sim.exit.reason)
    assert sim.notes("job.not_stopped")


def test_a_stop_signal_keeps_its_own_reason() -> None:
    """
    Looks during the drain change nothing.
    """
    sim = look(simulate(), TIMEOUT - EVERY)

    sim.send(SignalArrived(15))
    sim.send(QUIET)
    sim.run(30)

    assert sim.exit is not None
    assert "stop signal" == sim.exit.reason


@given(
    st.lists(
        st.builds(
            UseObserved,
            requests=st.integers(0, 2),
            open=st.integers(0, 2),
            kept=st.integers(0, 2),
            error=st.sampled_from(["", "", "cannot observe requests: x"]),
        ),
        max_size=60,
    )
)
def test_it_never_ends_within_the_time_after_use(looks: list[UseObserved]) -> None:
    """
    Whatever the looks saw: between the last use and the end lies all of IDLE_TIMEOUT.
    """
    sim = Simulation({"IDLE_TIMEOUT": "60s", "TTL": "1d"}).serve(1)
    sim.send(QUIET)
    used_at = sim.now
    for seen in looks:
        sim.run(EVERY)
        if sim.exit is not None or sim.state.lifetime.is_ending:
            break
        sim.send(seen)
        if seen.requests or seen.kept or seen.error:
            used_at = sim.now
        if sim.state.lifetime.ladder.has_begun:
            assert sim.now - used_at >= 60 + idle.SETTLE
            assert not seen.open


def test_without_idle_timeout_a_look_means_nothing() -> None:
    """
    Nothing is recorded, warned of or ended.
    """
    state = Simulation().serve(1).state
    assert (state, []) == on_use_observed(state, QUIET, 2000.0)
