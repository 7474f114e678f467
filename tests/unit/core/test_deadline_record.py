"""
The anchor of the deadline: what a start makes of the settings and of an earlier record.
"""

import pytest

from supervisor.core import lifecycle
from supervisor.core.config import load
from supervisor.core.config.settings import Settings
from supervisor.core.deadline_record import DeadlineRecord

NOW = 1_800_000_000.0


def configured(**environ: str) -> Settings:
    """Return settings with a service and these variables."""
    return load.read({"SERVICE_NAME": "web", **environ}, lambda _: False)


def test_the_first_start_is_the_anchor() -> None:
    """
    Without a record the TTL counts from now, and the record says so.
    """
    anchor = lifecycle.resolve(configured(TTL="1h", NOMAD_ALLOC_ID="a"), None, NOW)

    assert DeadlineRecord("a", NOW, "TTL=1h", NOW + 3600) == anchor.record
    assert (3600.0, "") == (anchor.remaining, anchor.warning)


def test_a_restart_keeps_the_deadline() -> None:
    """
    What remains is counted from the first start.
    """
    first = lifecycle.resolve(configured(TTL="1h"), None, NOW).record
    anchor = lifecycle.resolve(configured(TTL="1h"), first, NOW + 600)

    assert first == anchor.record
    assert 3000.0 == anchor.remaining


def test_a_changed_ttl_counts_from_the_first_start_and_drops_an_extension() -> None:
    """
    Whoever changes TTL means the lifetime, not what is left of it.
    """
    old = DeadlineRecord("", NOW, "TTL=1h", NOW + 3600, extended_to=NOW + 9999)
    anchor = lifecycle.resolve(configured(TTL="2h"), old, NOW + 600)

    assert DeadlineRecord("", NOW, "TTL=2h", NOW + 7200) == anchor.record
    assert 6600.0 == anchor.remaining
    assert "TTL=1h became TTL=2h" in anchor.warning


def test_a_recorded_extension_is_kept() -> None:
    """
    It is never clamped to the TTL.
    """
    old = DeadlineRecord("", NOW, "TTL=1h", NOW + 3600, extended_to=NOW + 36_000)

    assert 36_000.0 == lifecycle.resolve(configured(TTL="1h"), old, NOW).remaining


def test_the_deadline_wins_over_the_ttl() -> None:
    """
    DEADLINE is one instant for all who share it.
    """
    anchor = lifecycle.resolve(configured(TTL="1h", DEADLINE=str(NOW + 60)), None, NOW)

    assert (60.0, NOW + 60) == (anchor.remaining, anchor.record.deadline)


def test_no_limit_is_recorded_as_none() -> None:
    """
    A service without end still knows when it began.
    """
    anchor = lifecycle.resolve(configured(TTL="never"), None, NOW)

    assert (None, DeadlineRecord("", NOW, "TTL=never", None)) == (anchor.remaining, anchor.record)


@pytest.mark.parametrize(
    "record, remark",
    [
        (DeadlineRecord("other", NOW - 60, "TTL=1h", NOW), "another allocation"),
        (DeadlineRecord("", NOW + 86_400, "TTL=1h", NOW + 90_000), "in the future"),
        (DeadlineRecord("", NOW - 60, "TTL=1h", NOW + 90_000), "contradicts"),
        (DeadlineRecord("", NOW - 60, "TTL=1h", None), "contradicts"),
    ],
)
def test_a_record_that_is_not_ours_does_not_count(record: DeadlineRecord, remark: str) -> None:
    """
    A sticky disk carries another allocation's file over; a clock may have been wrong.
    """
    anchor = lifecycle.resolve(configured(TTL="1h"), record, NOW)

    assert 3600.0 == anchor.remaining
    assert remark in anchor.warning
