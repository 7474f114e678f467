"""
A deadline that people move while the service runs, and the warnings before it.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core import deadline
from supervisor.core.commands import Note, Reply, SaveState
from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.events import DeadlineRequested, SignalArrived, StateSaved, StopRequested
from supervisor.core.lifecycle import Phase
from tests.support.policy_simulation import WALL, FakeSystem, Simulation

HOUR = 3600.0


def wish(sim: Simulation, by: float | None = None, until: float | None = None) -> DeadlineRequested:
    """
    Return the wish for another deadline, made now; `until` counts from the start of the sim.
    """
    wall = sim.wall + sim.now - 1000.0
    return DeadlineRequested(1, wall, by, None if until is None else sim.wall + until)


def replies(sim: Simulation) -> list[Reply]:
    """
    Return the answers that were given so far.
    """
    return sim.commands(Reply)


def fields(note: Note) -> dict[str, Any]:
    """
    Return what a line of the log says.
    """
    return dict(note.fields)


def test_an_extension_moves_everything_at_once() -> None:
    """
    The end, the record on disk, the `Sunset` header and the line of the log with old and new end.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    sim.send(wish(sim, by=2 * HOUR))
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
    The record that was put on disk is what the next start goes by.
    """
    first = Simulation({"TTL": "1h"}).serve(1)
    first.send(wish(first, by=HOUR))
    record = first.commands(SaveState)[-1].record
    second = Simulation({"TTL": "1h"}, record=record, wall=WALL + 1.5 * HOUR)

    assert 0.5 * HOUR == second.state.lifetime.deadline - second.now


def test_an_instant_is_reached_on_the_clock_that_nobody_sets() -> None:
    """
    `until` is turned into a span at the moment of asking.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    sim.send(wish(sim, until=5 * HOUR))

    assert 1000.0 + 5 * HOUR == sim.state.lifetime.deadline
    assert WALL + 5 * HOUR == sim.state.deadline_epoch


def test_who_gives_an_hour_twice_gives_two() -> None:
    """
    A span counts from the deadline that is, not from now; a negative one shortens.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    for by in (HOUR, HOUR, -0.5 * HOUR):
        sim.send(wish(sim, by=by))
        sim.run(0.1)

    assert WALL + 2.5 * HOUR == sim.state.deadline_epoch
    assert [True] * 3 == [reply.accepted for reply in replies(sim)]


@pytest.mark.parametrize(
    "settings, asked, why",
    [
        ({"TTL": "1h"}, {"by": -2 * HOUR}, "`stop` ends it now"),
        ({"TTL": "1h"}, {"until": -10.0}, "`stop` ends it now"),
        ({"TTL": "1h", "MAX_TTL": "2h"}, {"by": 1.1 * HOUR}, "MAX_TTL"),
        ({"TTL": "1h", "MAX_TTL": "2h"}, {"until": 3 * HOUR}, "MAX_TTL"),
        ({"TTL": "never", "MAX_TTL": "2h"}, {"until": 3 * HOUR}, "MAX_TTL"),
        ({"TTL": "never"}, {"by": HOUR}, "name an instant"),
        ({"TTL": "1h"}, {"by": 9000 * 365 * 24 * HOUR}, "9999"),
    ],
)
def test_what_cannot_be_is_refused(
    settings: dict[str, str], asked: dict[str, float], why: str
) -> None:
    """
    With the reason, and nothing changes: neither the end, nor the disk, nor what clients are told.
    """
    sim = Simulation(settings).serve(1)
    before, saves = (sim.state.lifetime, sim.state.record), len(sim.commands(SaveState))
    sim.send(wish(sim, **asked))

    (reply,) = replies(sim)
    assert not reply.accepted
    assert why in reply.text
    assert reply.text.startswith("cannot move the deadline: ")
    assert before == (sim.state.lifetime, sim.state.record)
    assert saves == len(sim.commands(SaveState))
    assert 1 == len(sim.notes("deadline.not_moved"))


def test_a_service_without_a_deadline_can_be_given_one() -> None:
    """
    By an instant; then it ends.
    """
    sim = Simulation({"TTL": "never"}).serve(1)
    sim.send(wish(sim, until=HOUR))
    sim.run(HOUR)

    assert sim.exit is not None
    assert 0 == sim.exit.code


def test_what_lies_beyond_the_bound_may_become_less() -> None:
    """
    MAX_TTL bounds extensions; a deadline that was set beyond it may be shortened to anywhere.
    """
    sim = Simulation({"TTL": "4h", "MAX_TTL": "2h"}).serve(1)
    sim.send(wish(sim, by=-HOUR))
    sim.run(0.1)

    assert [True] == [reply.accepted for reply in replies(sim)]
    assert WALL + 3 * HOUR == sim.state.deadline_epoch


@pytest.mark.parametrize("stopped", [True, False])
def test_the_end_that_has_begun_is_not_taken_back(stopped: bool) -> None:  # noqa: FBT001
    """
    An extension while draining is refused, and so is one that comes with the deadline.
    """
    sim = Simulation({"TTL": "1h"}, system=FakeSystem(effective_signals=frozenset())).serve(1)
    if stopped:
        sim.send(SignalArrived(15))
    else:
        sim.now = 1000.0 + HOUR
    sim.send(wish(sim, by=HOUR))

    (reply,) = replies(sim)
    assert not reply.accepted
    assert "the end has begun" in reply.text
    assert Phase.DRAINING is sim.state.lifetime.phase


def test_a_disk_that_refuses_is_told_to_who_asked() -> None:
    """
    The deadline moves all the same; the answer says that a restart will not know.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    sim.system.save_error = "the disk is full"
    sim.send(wish(sim, by=HOUR))
    assert [] == replies(sim)
    sim.run(0.1)

    (reply,) = replies(sim)
    assert reply.accepted
    assert "after a restart it will not count: the disk is full" in reply.text
    assert not sim.state.is_saved
    assert 1000.0 + 2 * HOUR == sim.state.lifetime.deadline


def test_an_answer_waits_for_its_own_record() -> None:
    """
    News of an earlier record on disk is not taken for news of this one.
    """
    sim = Simulation({"TTL": "1h"}).serve(1)
    sim.system = FakeSystem(ignored_commands=frozenset({SaveState}))
    sim.send(wish(sim, by=HOUR))
    sim.send(StateSaved(record=DeadlineRecord("", 0.0, "TTL=1h", 1.0)))

    assert [] == replies(sim)
    sim.send(StateSaved(record=sim.state.record))
    assert 1 == len(replies(sim))


def test_a_lame_duck_that_is_given_time_is_ready_again() -> None:
    """
    Until the deadline is near again.
    """
    sim = Simulation({"TTL": "1h", "LAME_DUCK": "1m"}).serve(1)
    sim.run(HOUR - 30.0)
    assert not sim.state.view.ready
    sim.send(wish(sim, by=HOUR))
    sim.run(2.0)

    assert sim.state.view.ready
    sim.run(HOUR - 30.0)
    assert not sim.state.view.ready


def test_a_stop_ends_as_the_deadline_would() -> None:
    """
    What is open has DRAIN_TIMEOUT; who asks once more does not hasten it.
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
    assert (0, "asked to stop") == (sim.exit.code, sim.exit.reason)


def warned(sim: Simulation) -> list[float]:
    """
    Return how many seconds before the deadline each warning was given.
    """
    return [round(note.fields["remaining"]) for note in sim.notes("deadline.near")]


def test_warnings_come_before_the_end() -> None:
    """
    At each span of WARN_AT, once; those that are longer than the whole life are not given.
    """
    sim = Simulation({"TTL": "30m"}).serve(1)
    sim.run(HOUR)

    assert [900, 300, 60] == warned(sim)


def test_warnings_are_due_again_after_an_extension() -> None:
    """
    Whoever moved the deadline hears of the new one in time.
    """
    sim = Simulation({"TTL": "30m", "WARN_AT": "10m"}).serve(1)
    sim.run(1500.0)
    sim.send(wish(sim, by=HOUR))
    sim.run(2 * HOUR)

    assert [600, 600] == warned(sim)


def test_no_warnings_where_none_are_wanted() -> None:
    """
    WARN_AT=off.
    """
    sim = Simulation({"TTL": "2h", "WARN_AT": "off"}).serve(1)
    sim.run(3 * HOUR)

    assert [] == warned(sim)


def test_warnings_that_were_slept_through_are_one() -> None:
    """
    After a suspend only the nearest one is given.
    """
    sim = Simulation({"TTL": "2h"}).serve(1)
    sim.now += 2 * HOUR - 200.0
    sim.run(1.0)

    assert [200] == [round(each, -1) for each in warned(sim)]


@given(
    st.lists(st.floats(-4 * HOUR, 8 * HOUR).filter(bool), max_size=12),
    st.floats(2 * HOUR, 20 * HOUR),
)
def test_no_wish_leads_beyond_the_bound_or_into_the_past(
    spans: list[float], max_ttl: float
) -> None:
    """
    Whatever people ask for, in whatever order.
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
