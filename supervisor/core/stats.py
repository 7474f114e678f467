"""
The ledger: what has happened so far, counted, and the last reloads in words.

Theory: what is counted is what was said.  Each fact is a line of the log before it is a number, so
the metrics and the log cannot contradict each other, and a number can be looked up.  Nothing is
decided by the ledger.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from supervisor.core import log_ids
from supervisor.core.commands import Command, Note
from supervisor.core.model import LiveConfig, Mode

#: So many reloads are remembered in words.
REMEMBERED = 20

#: Upper bounds of the histogram of what reloads took, in seconds; one more counts all.
BOUNDS = (0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: What may become of an attempt.
RESULTS = ("applied", "refused", "rolled_back", "revived")


@dataclass(frozen=True, slots=True)
class ReloadRecord:
    """
    One attempt that ended; `at` is on the loop's clock, `endpoints` serve from then on.
    """

    at: float
    result: str
    why: str
    reason: str | None
    duration: float
    endpoints: int
    mode: Mode


@dataclass(frozen=True, slots=True)
class Stats:
    """
    The counts since this process began; `reloads` has the newest first.

    `buckets` counts, of the reloads that were applied, those that took no longer than each bound.
    """

    reloads: tuple[ReloadRecord, ...] = ()
    results: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(RESULTS, 0))
    buckets: tuple[int, ...] = (0,) * len(BOUNDS)
    duration: float = 0.0
    errors: Mapping[str, int] = field(default_factory=dict)
    last_error: Mapping[str, str] = field(default_factory=dict)
    master_deaths: int = 0
    worker_deaths: int = 0
    cut: int = 0


def count(stats: Stats, commands: Iterable[Command], live: LiveConfig | None, now: float) -> Stats:
    """
    Take in what is being said; `live` is what nginx serves by now.
    """
    for command in commands:
        if isinstance(command, Note) and command.event in _ENTRIES:
            stats = _ENTRIES[command.event](stats, command.fields, live, now)
    return stats


Fields = MappingProxyType[str, Any]


def _ended(stats: Stats, result: str, fields: Fields, live: LiveConfig | None, now: float) -> Stats:
    """Enter an attempt that came to its end."""
    reload = ReloadRecord(
        at=now,
        result=result,
        why=fields["why"],
        reason=fields.get("reason"),
        duration=fields["duration"],
        endpoints=len(live.plan.endpoints) if live else 0,
        mode=live.plan.mode if live else Mode.STARTING,
    )
    return replace(
        stats,
        reloads=(reload, *stats.reloads[: REMEMBERED - 1]),
        results={**stats.results, result: stats.results[result] + 1},
    )


def _applied(stats: Stats, fields: Fields, live: LiveConfig | None, now: float) -> Stats:
    duration = fields["duration"]
    buckets = tuple(
        count + (duration <= bound) for count, bound in zip(stats.buckets, BOUNDS, strict=True)
    )
    stats = replace(stats, buckets=buckets, duration=stats.duration + duration)
    return _ended(stats, "applied", fields, live, now)


def _failed(stats: Stats, fields: Fields, live: LiveConfig | None, now: float) -> Stats:
    return _ended(stats, fields["result"], fields, live, now)


def _revived(stats: Stats, fields: Fields, live: LiveConfig | None, now: float) -> Stats:
    return _ended(stats, "revived", fields, live, now)


def _unheard(stats: Stats, fields: Fields, _: LiveConfig | None, __: float) -> Stats:
    source = fields["source"]
    return replace(
        stats,
        errors={**stats.errors, source: stats.errors.get(source, 0) + 1},
        last_error={**stats.last_error, source: fields["reason"]},
    )


def _master_died(stats: Stats, _: Fields, __: LiveConfig | None, ___: float) -> Stats:
    return replace(stats, master_deaths=stats.master_deaths + 1)


def _worker_died(stats: Stats, _: Fields, __: LiveConfig | None, ___: float) -> Stats:
    return replace(stats, worker_deaths=stats.worker_deaths + 1)


def _cut(stats: Stats, fields: Fields, _: LiveConfig | None, __: float) -> Stats:
    return replace(stats, cut=stats.cut + fields["cut"])


_ENTRIES: dict[str, Callable[[Stats, Fields, LiveConfig | None, float], Stats]] = {
    log_ids.RELOAD_APPLIED: _applied,
    log_ids.RELOAD_FAILED: _failed,
    log_ids.RELOAD_REVIVED: _revived,
    log_ids.DISCOVERY_FAILED: _unheard,
    log_ids.NGINX_DIED: _master_died,
    log_ids.WORKER_DIED: _worker_died,
    log_ids.GENERATION_ENDED: _cut,
}
