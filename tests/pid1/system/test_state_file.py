"""
The deadline record: damaged, impossible to store, or extended.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.deadlines import ended_at, on_time, write_raw, write_record
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]

#: The warnings that the TTL counts from this start.
RESET_EVENTS = {"state.unusable", "deadline.anchored"}

DAMAGED = {
    "corrupt": b'{"allocation": "", "first_start": 17',
    "binary": bytes(range(256)),
    "empty": b"",
    "no object": b"[]",
    "huge file": b" " * 10_000_000 + b"{}",
    "deep": b"[" * 60_000,
    "long number": b'{"first_start": ' + b"9" * 5000 + b"}",
    "fields missing": b'{"allocation": ""}',
    "huge deadline": {"deadline": 9e18},
    "huge but possible deadline": {"deadline": 2e11},
    "negative deadline": {"deadline": -1},
    "negative start": {"first_start": -7200.0, "deadline": 0},
    "deadline before its start": {"deadline": 0},
    "infinite": {"deadline": float("inf")},
    "no number": {"deadline": float("nan")},
    "true": {"deadline": True},
    "text": {"deadline": "tomorrow"},
    "start in the future": {"first_start": 4e9, "deadline": 4e9 + 7200},
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_D12_a_damaged_record_does_not_count(
    supervise: Supervise, tmp_path: Path, damage: bytes | dict[str, object]
) -> None:
    """
    An invalid record leads to a warning; the TTL counts from now, and a valid record replaces it.
    """
    folder = tmp_path / "state"
    if isinstance(damage, bytes):
        write_raw(folder, damage)
    else:
        write_record(folder, **damage)
    began = time.time()
    subject = supervise(TTL="2h", STATE_DIR=str(folder))
    line = subject.wait_for_log("deadline.set")

    assert line["remaining"] == pytest.approx(7200, abs=1)
    eventually(
        lambda: [w for w in subject.logs if w["level"] == "warning" and w["event"] in RESET_EVENTS]
    )
    eventually(lambda: (state := subject.state) and state["first_start"] >= began - 0.1)


@pytest.mark.parametrize("problem", ["a file", "read-only"])
def test_D12_an_unusable_folder_is_a_warning(
    supervise: Supervise, tmp_path: Path, problem: str
) -> None:
    """
    If the record cannot be stored, the program logs a warning and serves; the TTL counts from now.

    The pattern being replaced does this too: it stores nothing.
    """
    if problem == "a file":
        (tmp_path / "file").write_text("in the way")
        folder = str(tmp_path / "file" / "state")
    else:
        folder = "/proc/sys/state"  # read-only even for root
    subject = supervise(TTL="3s", STATE_DIR=folder)
    subject.ready()

    assert 0 == subject.wait(10)
    assert 2.9 <= subject.lasted <= 7  # D01 tests the exact time
    if "old" != subject.subject.name:
        assert subject.log_lines("state.not_saved", level="warning")


def test_D12_a_recorded_extension_is_kept(supervise: Supervise, tmp_path: Path) -> None:
    """
    A record past its own deadline counts until the time it was extended to, and not longer.
    """
    now = time.time()
    folder = write_record(
        tmp_path / "state", first_start=now - 9000, deadline=now - 1800, extended_to=now + 3
    )
    subject = supervise(TTL="2h", STATE_DIR=folder)
    subject.ready()

    assert subject.state
    assert now + 3 == subject.state["extended_to"]
    assert 0 == subject.wait(10)
    assert on_time(ended_at(subject), now + 3)


def test_D12_a_long_extension_is_not_clamped(supervise: Supervise, tmp_path: Path) -> None:
    """
    An extension of a year on a TTL of two hours is kept unchanged.
    """
    year = time.time() + 365 * 86400
    folder = write_record(tmp_path / "state", extended_to=year)
    subject = supervise(TTL="2h", STATE_DIR=folder)

    assert subject.wait_for_log("deadline.set")["remaining"] == pytest.approx(365 * 86400, abs=5)
    subject.ready()
    assert subject.state
    assert year == subject.state["extended_to"]
