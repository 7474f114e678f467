"""
Tests of the deadline at a start, from the settings and the record of an earlier start.
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


def test_the_ttl_counts_from_the_first_start() -> None:
    """
    Without a record the TTL counts from now, and the record stores that.
    """
    resolved = lifecycle.resolve(configured(TTL="1h", NOMAD_ALLOC_ID="a"), None, NOW)

    assert DeadlineRecord("a", NOW, "TTL=1h", NOW + 3600) == resolved.record
    assert (3600.0, "") == (resolved.remaining, resolved.warning)


def test_a_restart_keeps_the_deadline() -> None:
    """
    The remaining time counts from the first start.
    """
    first = lifecycle.resolve(configured(TTL="1h"), None, NOW).record
    resolved = lifecycle.resolve(configured(TTL="1h"), first, NOW + 600)

    assert first == resolved.record
    assert 3000.0 == resolved.remaining


def test_a_changed_ttl_counts_from_the_first_start_and_drops_an_extension() -> None:
    """
    A changed TTL sets the whole lifetime, not the remaining time.
    """
    old = DeadlineRecord("", NOW, "TTL=1h", NOW + 3600, extended_to=NOW + 9999)
    resolved = lifecycle.resolve(configured(TTL="2h"), old, NOW + 600)

    assert DeadlineRecord("", NOW, "TTL=2h", NOW + 7200) == resolved.record
    assert 6600.0 == resolved.remaining
    assert "TTL=1h became TTL=2h" in resolved.warning


def test_a_recorded_extension_is_kept() -> None:
    """
    An extension is not limited to the TTL.
    """
    old = DeadlineRecord("", NOW, "TTL=1h", NOW + 3600, extended_to=NOW + 36_000)

    assert 36_000.0 == lifecycle.resolve(configured(TTL="1h"), old, NOW).remaining


def test_deadline_takes_precedence_over_ttl() -> None:
    """
    DEADLINE is one instant for all tasks that share it.
    """
    resolved = lifecycle.resolve(configured(TTL="1h", DEADLINE=str(NOW + 60)), None, NOW)

    assert (60.0, NOW + 60) == (resolved.remaining, resolved.record.deadline)


def test_no_limit_is_recorded_as_none() -> None:
    """
    The record of a service without a deadline still stores the first start.
    """
    resolved = lifecycle.resolve(configured(TTL="never"), None, NOW)

    assert (None, DeadlineRecord("", NOW, "TTL=never", None)) == (
        resolved.remaining,
        resolved.record,
    )


@pytest.mark.parametrize(
    "record, warning",
    [
        (DeadlineRecord("other", NOW - 60, "TTL=1h", NOW), "another allocation"),
        (DeadlineRecord("", NOW + 86_400, "TTL=1h", NOW + 90_000), "in the future"),
        (DeadlineRecord("", NOW - 60, "TTL=1h", NOW + 90_000), "contradicts"),
        (DeadlineRecord("", NOW - 60, "TTL=1h", None), "contradicts"),
    ],
)
def test_an_invalid_record_is_replaced(record: DeadlineRecord, warning: str) -> None:
    """
    A sticky disk carries over another allocation's file; a clock may have been wrong.
    """
    resolved = lifecycle.resolve(configured(TTL="1h"), record, NOW)

    assert 3600.0 == resolved.remaining
    assert warning in resolved.warning


@pytest.mark.parametrize("ttl", ["1h", "2h"])
def test_an_extension_to_before_the_first_start_is_ignored(ttl: str) -> None:
    """
    It cannot have been made; the deadline itself is kept, or follows from a changed TTL.
    """
    old = DeadlineRecord("", NOW, "TTL=1h", NOW + 3600, extended_to=NOW - 1)
    resolved = lifecycle.resolve(configured(TTL=ttl), old, NOW + 600)

    assert resolved.record.extended_to is None
    assert resolved.remaining == (3000.0 if ttl == "1h" else 6600.0)
    assert resolved.warning


def test_an_extension_to_zero_is_ignored() -> None:
    """
    The earliest instant is no missing one.
    """
    old = DeadlineRecord("", NOW, "TTL=1h", NOW + 3600, extended_to=0.0)

    assert 3600.0 == lifecycle.resolve(configured(TTL="1h"), old, NOW).remaining
