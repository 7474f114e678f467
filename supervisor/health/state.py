"""
State machine from probe results to an endpoint's health state, and the pause to its next probe.

Being listed is not being ready.  An endpoint that was never ready is `starting` until it has
passed; one that was ready once (observed, or read from the cache) leaves `ready` only after
failures in a row, of which a refused connection counts double: no process listens there.  It ends
`ready` at once if nginx, too, cannot connect (`is_suspected`).  Timeouts
alone make it `slow`, because a busy replica times out as well.  An endpoint that is not ready is
probed at the fast interval for a while, so that it serves soon after it can; the slots for that are
limited, and endpoints without one are probed at the slow interval.

Pure: all durations are in seconds, `chance` is a random number in [0, 1).  A record is a tuple and
is returned unchanged if nothing changed, because there may be ten thousand of them.
"""

from enum import Enum
from typing import NamedTuple

from supervisor.core.model import HealthState
from supervisor.core.probe_outcome import Outcome, OutcomeKind

#: The interval in a fast slot, how long it lasts, and the interval that it grows to afterwards.
_FAST_INTERVAL = 0.05
_FAST_DURATION = 60.0
_SLOW_INTERVAL = 1.0

#: The interval then grows with the time, by half from one probe to the next.
_GROWTH = 0.5
_FAST_SLOT_DURATION = _FAST_DURATION + (_SLOW_INTERVAL - _FAST_INTERVAL) / _GROWTH

#: The interval of an endpoint that left the registry, and serves only while its probes pass.
_LEAVING_INTERVAL = 0.2

#: The interval of a ready endpoint to which nginx cannot connect, until a probe passes or enough of
#: them have failed; and the shortest time between two probes of it.
SUSPECT_INTERVAL = 0.1

#: The most probes per second, without those in fast slots: with more endpoints, all slow intervals
#: are longer.
_MAX_RATE = 2500


class ProbeResult(Enum):
    """
    The result of one probe.
    """

    PASSED = "passed"
    REFUSED = "refused"
    FAILED = "failed"
    TIMED_OUT = "timed out"


_RESULTS = {
    OutcomeKind.PASSED: ProbeResult.PASSED,
    OutcomeKind.REFUSED: ProbeResult.REFUSED,
    OutcomeKind.CONNECT_TIMEOUT: ProbeResult.TIMED_OUT,
    OutcomeKind.RESPONSE_TIMEOUT: ProbeResult.TIMED_OUT,
}


def result_of(outcome: Outcome) -> ProbeResult:
    """
    Return how an outcome counts.
    """
    return _RESULTS.get(outcome.kind, ProbeResult.FAILED)


class ProbeRecord(NamedTuple):
    """
    The health of one endpoint.

    `was_ready`: it was ready once.  `failures`, and those among them that were not timeouts
    (`hard_failures`), are counted since the last pass.  `since`: when its state began, as far as
    intervals depend on it.
    """

    health_state: HealthState
    was_ready: bool
    passes: int
    failures: int
    hard_failures: int
    since: float


def new_record(now: float, *, was_ready: bool) -> ProbeRecord:
    """
    Create the record of a new endpoint; `was_ready`: it was ready before this process started.
    """
    return ProbeRecord(HealthState.UNKNOWN, was_ready, 0, 0, 0, now)


def apply_result(
    health: ProbeRecord,
    result: ProbeResult,
    now: float,
    rise: int,
    fall: int,
    *,
    is_suspected: bool = False,
) -> ProbeRecord:
    """
    Return the record after a result: `rise` passes make it ready, `fall` failures not ready.

    `is_suspected`: nginx could not connect either, so a refused connection suffices.
    """
    health_state, was_ready, passes, failures, hard_failures, since = health
    if result is ProbeResult.PASSED:
        if health_state is HealthState.READY:
            if passes and not failures:
                return health
            return ProbeRecord(health_state, True, 1, 0, 0, since)
        if passes + 1 >= rise:
            return ProbeRecord(HealthState.READY, True, 0, 0, 0, now)
        waiting = health_state if was_ready else HealthState.STARTING
        return ProbeRecord(waiting, was_ready, passes + 1, 0, 0, since)
    weight = 1
    if result is ProbeResult.REFUSED:
        weight = fall if is_suspected else 2
    failures = min(fall, failures + weight)
    if result is not ProbeResult.TIMED_OUT:
        hard_failures = min(fall, hard_failures + weight)
    if not was_ready:
        return ProbeRecord(HealthState.STARTING, False, 0, failures, hard_failures, since)
    after = _failed_state(health_state, hard_failures, fall) if failures == fall else health_state
    since = since if after is health_state else now
    return ProbeRecord(after, True, 0, failures, hard_failures, since)


def _failed_state(health_state: HealthState, hard_failures: int, fall: int) -> HealthState:
    """Return slow or failing, for an endpoint with `fall` failures."""
    if health_state is HealthState.SLOW:
        return HealthState.FAILING if hard_failures == fall else HealthState.SLOW
    is_hard = hard_failures or health_state is HealthState.FAILING
    return HealthState.FAILING if is_hard else HealthState.SLOW


def replace_state(health: ProbeRecord, health_state: HealthState, now: float) -> ProbeRecord:
    """
    Return the record with a state that another checker found; all counts start again.
    """
    was_ready = health.was_ready or health_state is HealthState.READY
    return ProbeRecord(health_state, was_ready, 0, 0, 0, now)


def only_times_out(health: ProbeRecord) -> bool:
    """
    Return whether it has only timed out since it last passed: its next probe may take as long.
    """
    return bool(health.failures) and not health.hard_failures


def wants_fast_slot(health: ProbeRecord, now: float) -> bool:
    """
    Return whether it should be probed at the fast interval, if a slot is free.
    """
    return health.health_state is not HealthState.READY and now - health.since < _FAST_SLOT_DURATION


def pause(
    health: ProbeRecord,
    now: float,
    *,
    has_fast_slot: bool,
    is_leaving: bool,
    is_suspected: bool = False,
    endpoints_total: int,
    interval: float,
    chance: float,
) -> float:
    """
    Return the seconds to the next probe of an endpoint, one of `endpoints_total`.

    The first pause of an endpoint that has just become ready is any part of the interval, so that
    endpoints that became ready together are not always probed together.
    """
    if is_suspected:
        return SUSPECT_INTERVAL
    if is_leaving:
        return max(_LEAVING_INTERVAL, endpoints_total / _MAX_RATE)
    if health.health_state is HealthState.READY:
        if health.hard_failures:
            return min(interval, _SLOW_INTERVAL)
        jitter = 0.2 if health.passes or health.failures else 1.0
        return interval * (1.1 - jitter * (1.0 - chance))
    if has_fast_slot:
        over = now - health.since - _FAST_DURATION
        return min(_SLOW_INTERVAL, _FAST_INTERVAL + max(0.0, over) * _GROWTH)
    return max(_SLOW_INTERVAL, endpoints_total / _MAX_RATE)
