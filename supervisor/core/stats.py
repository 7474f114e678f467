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
from supervisor.core.commands import Note, Order
from supervisor.core.model import Live, Mode

#: So many reloads are remembered in words.
REMEMBERED = 20

#: Upper bounds of the histogram of what reloads took, in seconds; one more counts all.
BOUNDS = (0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: What may become of an attempt.
RESULTS = ("applied", "refused", "rolled_back", "revived")


@dataclass(frozen=True, slots=True)
class Reload:
    """
    One attempt that ended; `at` is on the loop's clock, `endpoints` serve from then on.
    """

    at: float
    result: str
    why: str
    reason: str | None
    took: float
    endpoints: int
    mode: Mode


@dataclass(frozen=True, slots=True)
class Ledger:
    """
    The counts since this process began; `reloads` has the newest first.

    `spread` counts, of the reloads that were applied, those that took no longer than each bound.
    """

    reloads: tuple[Reload, ...] = ()
    results: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(RESULTS, 0))
    spread: tuple[int, ...] = (0,) * len(BOUNDS)
    took: float = 0.0
    errors: Mapping[str, int] = field(default_factory=dict)
    last_error: Mapping[str, str] = field(default_factory=dict)
    master_deaths: int = 0
    worker_deaths: int = 0
    cut: int = 0


def entered(ledger: Ledger, orders: Iterable[Order], live: Live | None, now: float) -> Ledger:
    """
    Take in what is being said; `live` is what nginx serves by now.
    """
    for order in orders:
        if isinstance(order, Note) and order.event in _ENTRIES:
            ledger = _ENTRIES[order.event](ledger, order.fields, live, now)
    return ledger


Fields = MappingProxyType[str, Any]


def _ended(ledger: Ledger, result: str, fields: Fields, live: Live | None, now: float) -> Ledger:
    """Enter an attempt that came to its end."""
    reload = Reload(
        at=now,
        result=result,
        why=fields["why"],
        reason=fields.get("reason"),
        took=fields["took"],
        endpoints=len(live.plan.endpoints) if live else 0,
        mode=live.plan.mode if live else Mode.STARTING,
    )
    return replace(
        ledger,
        reloads=(reload, *ledger.reloads[: REMEMBERED - 1]),
        results={**ledger.results, result: ledger.results[result] + 1},
    )


def _applied(ledger: Ledger, fields: Fields, live: Live | None, now: float) -> Ledger:
    took = fields["took"]
    spread = tuple(
        count + (took <= bound) for count, bound in zip(ledger.spread, BOUNDS, strict=True)
    )
    ledger = replace(ledger, spread=spread, took=ledger.took + took)
    return _ended(ledger, "applied", fields, live, now)


def _failed(ledger: Ledger, fields: Fields, live: Live | None, now: float) -> Ledger:
    return _ended(ledger, fields["result"], fields, live, now)


def _revived(ledger: Ledger, fields: Fields, live: Live | None, now: float) -> Ledger:
    return _ended(ledger, "revived", fields, live, now)


def _unheard(ledger: Ledger, fields: Fields, _: Live | None, __: float) -> Ledger:
    source = fields["source"]
    return replace(
        ledger,
        errors={**ledger.errors, source: ledger.errors.get(source, 0) + 1},
        last_error={**ledger.last_error, source: fields["reason"]},
    )


def _master_died(ledger: Ledger, _: Fields, __: Live | None, ___: float) -> Ledger:
    return replace(ledger, master_deaths=ledger.master_deaths + 1)


def _worker_died(ledger: Ledger, _: Fields, __: Live | None, ___: float) -> Ledger:
    return replace(ledger, worker_deaths=ledger.worker_deaths + 1)


def _cut(ledger: Ledger, fields: Fields, _: Live | None, __: float) -> Ledger:
    return replace(ledger, cut=ledger.cut + fields["cut"])


_ENTRIES: dict[str, Callable[[Ledger, Fields, Live | None, float], Ledger]] = {
    log_ids.RELOAD_APPLIED: _applied,
    log_ids.RELOAD_FAILED: _failed,
    log_ids.RELOAD_REVIVED: _revived,
    log_ids.DISCOVERY_FAILED: _unheard,
    log_ids.NGINX_DIED: _master_died,
    log_ids.WORKER_DIED: _worker_died,
    log_ids.GENERATION_ENDED: _cut,
}
