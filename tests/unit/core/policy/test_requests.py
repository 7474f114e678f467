"""
Admin requests that move the deadline or stop the service, and the warnings before the deadline.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import deadline
from supervisor.core.commands import Note, Reply, SaveState
from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.events import (
    DeadlineRequested,
    Disk,
    SignalArrived,
    StateSaved,
    StopRequested,
    WriteOverdue,
    WriteResumed,
)
from supervisor.core.lifecycle import Phase
from tests.support.policy_simulation import WALL, FakeSystem, Simulation

HOUR = 3600.0


def move(sim: Simulation, by: float | None = None, until: float | None = None) -> DeadlineRequested:
    """
    Return a request made now for another deadline; `until` counts from the simulation's start.
    """
    wall = sim.wall + sim.now - 1000.0
    return DeadlineRequested(1, wall, by, None if until is None else sim.wall + until)


def replies(sim: Simulation) -> list[Reply]:
    """
    Return the replies sent so far.
    """
    return sim.commands(Reply)


def fields(note: Note) -> dict[str, Any]:
    """
    Return the fields of a log line.
    """
    return dict(note.fields)


def test_an_extension_moves_everything_at_once() -> None:
    """
    The exit, the saved record, the `Sunset` header and a log line with old and new deadline.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    sim.send(move(sim, by=2 * HOUR))
    sim.run(1.0)

    assert WALL + 3 * HOUR == sim.commands(SaveState)[-1].record.extended_to
    assert WALL + 3 * HOUR == sim.served.sunset
    (moved,) = sim.notes("deadline.moved")
    assert ("2027-01-15T09:00:00Z", "2027-01-15T11:00:00Z") == (
        moved.fields["was"],
        moved.fields["deadline"],
    )
    assert replies(sim)[-1].accepted
    sim.run(3 * HOUR - sim.now + 1000.0 - 1.0)
    assert not sim.state.lifetime.is_ending
    sim.run(1.5)
    assert sim.exit is not None
    assert (0, "deadline") == (sim.exit.code, sim.exit.reason)


def test_an_extension_survives_a_restart() -> None:
    """
    The next start uses the saved record.
    """
    first = Simulation({"TTL": "1h"}).serve(1)
    first.send(move(first, by=HOUR))
    record = first.commands(SaveState)[-1].record
    second = Simulation({"TTL": "1h"}, record=record, wall=WALL + 1.5 * HOUR)

    assert 0.5 * HOUR == second.state.lifetime.deadline - second.now


def test_an_instant_is_converted_to_the_loops_clock() -> None:
    """
    `until` becomes a duration at the time of the request.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    sim.send(move(sim, until=5 * HOUR))

    assert 1000.0 + 5 * HOUR == sim.state.lifetime.deadline
    assert WALL + 5 * HOUR == sim.state.deadline_epoch


def test_two_extensions_of_an_hour_add_two_hours() -> None:
    """
    A duration counts from the current deadline, not from now; a negative one shortens it.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    for by in (HOUR, HOUR, -0.5 * HOUR):
        sim.send(move(sim, by=by))
        sim.run(0.1)

    assert WALL + 2.5 * HOUR == sim.state.deadline_epoch
    assert [True] * 3 == [reply.accepted for reply in replies(sim)]


@pytest.mark.parametrize(
    "settings, move_to, reason",
    [
        ({"TTL": "1h"}, {"by": -2 * HOUR}, "run `stop`"),
        ({"TTL": "1h"}, {"until": -10.0}, "run `stop`"),
        ({"TTL": "1h", "MAX_TTL": "2h"}, {"by": 1.1 * HOUR}, "MAX_TTL"),
        ({"TTL": "1h", "MAX_TTL": "2h"}, {"until": 3 * HOUR}, "MAX_TTL"),
        ({"TTL": "never", "MAX_TTL": "2h"}, {"until": 3 * HOUR}, "MAX_TTL"),
        ({"TTL": "never"}, {"by": HOUR}, "give an instant"),
        ({"TTL": "1h"}, {"by": 9000 * 365 * 24 * HOUR}, "9999"),
    ],
)
def test_an_impossible_deadline_is_refused(
    settings: dict[str, str], move_to: dict[str, float], reason: str
) -> None:
    """
    The reply gives the reason; the deadline, the saved record and the state do not change.
    """
    sim = Simulation(settings).serve(1)
    before, saves = (sim.state.lifetime, sim.state.record), len(sim.commands(SaveState))
    sim.send(move(sim, **move_to))

    (reply,) = replies(sim)
    assert not reply.accepted
    assert reason in reply.text
    assert reply.text.startswith("cannot move the deadline: ")
    assert before == (sim.state.lifetime, sim.state.record)
    assert saves == len(sim.commands(SaveState))
    assert 1 == len(sim.notes("deadline.not_moved"))


def test_a_service_without_a_deadline_can_be_given_one() -> None:
    """
    It is set by an instant, and then ends the service.
    """
    sim = Simulation({"TTL": "never"}).serve(1)
    sim.send(move(sim, until=HOUR))
    sim.run(HOUR)

    assert sim.exit is not None
    assert 0 == sim.exit.code


def test_a_deadline_beyond_max_ttl_may_be_shortened() -> None:
    """
    MAX_TTL limits extensions; a deadline set beyond it may be moved to any earlier instant.
    """
    sim = Simulation({"TTL": "4h", "MAX_TTL": "2h"}).serve(1)
    sim.send(move(sim, by=-HOUR))
    sim.run(0.1)

    assert [True] == [reply.accepted for reply in replies(sim)]
    assert WALL + 3 * HOUR == sim.state.deadline_epoch


@pytest.mark.parametrize("stopped", [True, False])
def test_shutdown_cannot_be_cancelled(stopped: bool) -> None:  # noqa: FBT001
    """
    An extension while draining is refused, and so is one at the deadline.
    """
    sim = Simulation({"TTL": "1h"}, system=FakeSystem(effective_signals=frozenset())).serve(1)
    if stopped:
        sim.send(SignalArrived(15))
    else:
        sim.now = 1000.0 + HOUR
    sim.send(move(sim, by=HOUR))

    (reply,) = replies(sim)
    assert not reply.accepted
    assert "shutdown has begun" in reply.text
    assert Phase.DRAINING is sim.state.lifetime.phase


def test_a_deadline_that_cannot_be_saved_is_in_the_reply() -> None:
    """
    The deadline moves; the reply warns that a restart would reset it.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    sim.system.save_error = "the disk is full"
    sim.send(move(sim, by=HOUR))
    assert [] == replies(sim)
    sim.run(0.1)

    (reply,) = replies(sim)
    assert reply.accepted
    assert "a restart would reset it: the disk is full" in reply.text
    assert not sim.state.is_saved
    assert 1000.0 + 2 * HOUR == sim.state.lifetime.deadline


def test_a_reply_waits_for_its_own_record() -> None:
    """
    The result for an earlier record does not release it.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    sim.system = FakeSystem(ignored_commands=frozenset({SaveState}))
    sim.send(move(sim, by=HOUR))
    sim.send(StateSaved(record=DeadlineRecord("", 0.0, "TTL=1h", 1.0)))

    assert [] == replies(sim)
    sim.send(StateSaved(record=sim.state.record))
    assert 1 == len(replies(sim))


def test_an_extension_ends_the_lame_duck_phase() -> None:
    """
    It begins again before the new deadline.
    """
    sim = Simulation({"TTL": "1h", "LAME_DUCK": "1m"}).serve(1)
    sim.run(HOUR - 30.0)
    assert not sim.state.view.ready
    sim.send(move(sim, by=HOUR))
    sim.run(2.0)

    assert sim.state.view.ready
    sim.run(HOUR - 30.0)
    assert not sim.state.view.ready


def test_a_stop_request_drains_as_the_deadline_does() -> None:
    """
    Open requests have DRAIN_TIMEOUT; a second request does not shorten it.
    """
    sim = Simulation(
        {"DRAIN_TIMEOUT": "20s"}, system=FakeSystem(effective_signals=frozenset({9}))
    ).serve(1)
    sim.send(StopRequested(7))
    sim.run(5.0)
    sim.send(StopRequested(8))

    first, second = replies(sim)
    assert (7, True, 8, True) == (first.ticket, first.accepted, second.ticket, second.accepted)
    assert "20s" in first.text
    assert "15s" in second.text
    sim.run(14.0)
    assert sim.exit is None
    sim.run(2.0)
    assert sim.exit is not None
    assert (0, "stop requested") == (sim.exit.code, sim.exit.reason)


def warned(sim: Simulation) -> list[float]:
    """
    Return how many seconds before the deadline each warning was logged.
    """
    return [round(note.fields["remaining"]) for note in sim.notes("deadline.near")]


def test_warnings_precede_the_deadline() -> None:
    """
    One is logged at each duration of WARN_AT that is shorter than the lifetime.
    """
    sim = Simulation({"TTL": "30m"}).serve(1)
    sim.run(HOUR)

    assert [900, 300, 60] == warned(sim)


def test_warnings_are_repeated_after_an_extension() -> None:
    """
    The new deadline has its own warnings.
    """
    sim = Simulation({"TTL": "30m", "WARN_AT": "10m"}).serve(1)
    sim.run(1500.0)
    sim.send(move(sim, by=HOUR))
    sim.run(2 * HOUR)

    assert [600, 600] == warned(sim)


def test_warn_at_off_logs_no_warnings() -> None:
    """
    The deadline is reached without a warning.
    """
    sim = Simulation({"TTL": "2h", "WARN_AT": "off"}).serve(1)
    sim.run(3 * HOUR)

    assert [] == warned(sim)


def test_only_one_warning_follows_a_suspend() -> None:
    """
    Of several overdue warnings only the last one is logged.
    """
    sim = Simulation({"TTL": "2h"}).serve(1)
    sim.now += 2 * HOUR - 200.0
    sim.run(1.0)

    assert [200] == [round(each, -1) for each in warned(sim)]


@given(
    st.lists(st.floats(-4 * HOUR, 8 * HOUR).filter(bool), max_size=12),
    st.floats(2 * HOUR, 20 * HOUR),
)
def test_no_request_exceeds_max_ttl_or_sets_a_past_deadline(
    spans: list[float], max_ttl: float
) -> None:
    """
    Any sequence of requests keeps the deadline between now and MAX_TTL.
    """
    record, instant = DeadlineRecord("", WALL, "TTL=1h", WALL + HOUR), 1000.0 + HOUR
    for number, by in enumerate(spans):
        now = 1000.0 + number
        outcome = deadline.moved(record, instant, DeadlineRequested(1, WALL, by), max_ttl, now)
        if not isinstance(outcome, str):
            record, instant = outcome.record, outcome.deadline
        end = record.end
        assert end is not None
        assert end <= WALL + max_ttl
        assert instant > now
        assert instant - 1000.0 == pytest.approx(end - WALL)


def test_a_disk_that_hangs_is_reported_until_it_responds() -> None:
    """
    One log line when a task is overdue and one when it has ended; the state shows it meanwhile.
    """
    sim = Simulation({"START_TIMEOUT": "7s"}).serve(1)
    sim.send(WriteOverdue(Disk.CONFIG, "stage the configuration"))

    (line,) = sim.notes("disk.overdue")
    reason = "cannot stage the configuration: the disk has not responded for START_TIMEOUT=7s"
    assert ("error", reason) == (line.level, line.fields["reason"])
    assert {Disk.CONFIG: reason} == sim.state.overdue
    assert sim.state.is_saved
    sim.send(WriteResumed(Disk.CONFIG, 9.04))
    (line,) = sim.notes("disk.responds")
    assert (Disk.CONFIG, 9.0) == (line.fields["disk"], line.fields["duration"])
    assert {} == sim.state.overdue


def test_a_moved_deadline_does_not_wait_for_a_disk_that_hangs() -> None:
    """
    The reply to a waiting request, and to each later one, says that the deadline is not saved.
    """
    system = FakeSystem(ignored_commands=frozenset({SaveState}))
    sim = Simulation({"TTL": "1h"}, system=system).serve(1)
    sim.send(move(sim, by=HOUR))
    assert [] == replies(sim)
    sim.send(WriteOverdue(Disk.STATE, "write state.json"))
    sim.send(move(sim, by=HOUR))

    assert 2 == len(replies(sim))
    assert all(reply.accepted and "could not be saved" in reply.text for reply in replies(sim))
    assert not sim.state.is_saved
    assert WALL + 3 * HOUR == sim.state.record.end
    sim.send(WriteResumed(Disk.STATE, 12.0))
    sim.send(StateSaved(record=sim.state.record))
    assert sim.state.is_saved
    assert 2 == len(replies(sim))


def test_a_disk_that_hangs_has_no_effect_during_the_shutdown() -> None:
    """
    The drain waits for no disk.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    sim.send(StopRequested(1))
    sim.send(WriteOverdue(Disk.STATE, "write state.json"))

    assert [] == sim.notes("disk.overdue")
