"""
Counters of past events, and the last reloads.

Theory: the counters count log lines.  Each event is logged before it is counted, so the metrics and
the log cannot contradict each other, and every number can be traced in the log.  No decision
depends on these counters.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from types import MappingProxyType
from typing import Any

from supervisor.core import log_ids
from supervisor.core.commands import Command, Note
from supervisor.core.model import LiveConfig, Mode
from supervisor.core.values import value_class

#: The number of reloads kept in the list.
MAX_RELOADS = 20

#: Upper bounds of the histogram of reload durations, in seconds; `+Inf` is implicit.
BOUNDS = (0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: The possible results of an attempt.
RESULTS = ("applied", "refused", "rolled_back", "revived")


@value_class(frozen=True, slots=True)
class ReloadRecord:
    """
    One finished attempt; `at` is on the loop's clock, `endpoints` is the number live afterwards.
    """

    at: float
    result: str
    why: str
    reason: str | None
    duration: float
    endpoints: int
    mode: Mode


@value_class(frozen=True, slots=True)
class Stats:
    """
    The counters since this process started; `reloads` has the newest first.

    `buckets` counts the applied reloads that took no longer than each bound, `duration` is the sum
    of their durations in seconds.  `cut` counts client connections of ended generations.
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
    Count the log lines among the commands; `live` is the configuration nginx serves now.
    """
    for command in commands:
        if isinstance(command, Note) and command.event in _COUNTERS:
            stats = _COUNTERS[command.event](stats, command.fields, live, now)
    return stats


Fields = MappingProxyType[str, Any]


def _finished(
    stats: Stats, result: str, fields: Fields, live: LiveConfig | None, now: float
) -> Stats:
    """Record a finished attempt."""
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
        reloads=(reload, *stats.reloads[: MAX_RELOADS - 1]),
        results={**stats.results, result: stats.results[result] + 1},
    )


def _applied(stats: Stats, fields: Fields, live: LiveConfig | None, now: float) -> Stats:
    duration = fields["duration"]
    buckets = tuple(
        count + (duration <= bound) for count, bound in zip(stats.buckets, BOUNDS, strict=True)
    )
    stats = replace(stats, buckets=buckets, duration=stats.duration + duration)
    return _finished(stats, "applied", fields, live, now)


def _failed(stats: Stats, fields: Fields, live: LiveConfig | None, now: float) -> Stats:
    return _finished(stats, fields["result"], fields, live, now)


def _revived(stats: Stats, fields: Fields, live: LiveConfig | None, now: float) -> Stats:
    return _finished(stats, "revived", fields, live, now)


def _discovery_failed(stats: Stats, fields: Fields, _: LiveConfig | None, __: float) -> Stats:
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


def _generation_ended(stats: Stats, fields: Fields, _: LiveConfig | None, __: float) -> Stats:
    return replace(stats, cut=stats.cut + fields["cut"])


_COUNTERS: dict[str, Callable[[Stats, Fields, LiveConfig | None, float], Stats]] = {
    log_ids.RELOAD_APPLIED: _applied,
    log_ids.RELOAD_FAILED: _failed,
    log_ids.RELOAD_REVIVED: _revived,
    log_ids.DISCOVERY_FAILED: _discovery_failed,
    log_ids.NGINX_DIED: _master_died,
    log_ids.WORKER_DIED: _worker_died,
    log_ids.GENERATION_ENDED: _generation_ended,
}
