"""
From what probes find to what is known of an endpoint, and how soon to ask it again.

Theory: being listed is not being ready.  Whoever was never ready is `starting` until it has
passed; whoever was ready once (seen by us, or remembered) is lost only after failures in a row, of
which a refused connection counts double: nobody listens there.  Timeouts alone make it `slow`,
because that is what a busy replica looks like.  Whoever does not serve is asked briskly for a
while, so that it serves soon after it can; the places for that are few, and whoever waits for one
is asked calmly.

Pure: all spans are in seconds, `chance` is a random number in [0, 1).  A record is a tuple and is
returned unchanged where nothing changed, because there may be ten thousand of them.
"""

from enum import Enum
from typing import NamedTuple

from supervisor.core.model import HealthState

#: How often one that has a brisk place is asked, for how long, and what that grows to afterwards.
_BRISK = 0.05
_BRISK_FOR = 60.0
_CALM = 1.0

#: The pace grows with the age, which is half as much again from one probe to the next.
_GROWTH = 0.5
_GROWN_AFTER = _BRISK_FOR + (_CALM - _BRISK) / _GROWTH

#: How often one that left the registry, and serves only as long as it answers, is asked.
_LEAVING = 0.2

#: So many probes a second are enough, without the brisk ones: with more endpoints, all calm
#: paces are slower.
_CROWD = 2500


class ProbeResult(Enum):
    """
    What one probe found.
    """

    PASSED = "passed"
    REFUSED = "refused"
    FAILED = "failed"
    TIMED_OUT = "timed out"


class ProbeRecord(NamedTuple):
    """
    What is known of one endpoint.

    `was_ready` means ready once; `failures` and the `hard` ones among them, which were no timeouts,
    are counted since the last pass; `since` is when its condition began, as far as paces care.
    """

    health_state: HealthState
    was_ready: bool
    passes: int
    failures: int
    hard: int
    since: float


def new_record(now: float, *, was_ready: bool) -> ProbeRecord:
    """
    Begin to know an endpoint; a proven one was ready before we were started.
    """
    return ProbeRecord(HealthState.UNKNOWN, was_ready, 0, 0, 0, now)


def judge(
    health: ProbeRecord, verdict: ProbeResult, now: float, rise: int, fall: int
) -> ProbeRecord:
    """
    Take in a verdict: `rise` passes make ready, `fall` failures lose what was ready.
    """
    health_state, was_ready, passes, failures, hard, since = health
    if verdict is ProbeResult.PASSED:
        if health_state is HealthState.READY:
            if passes and not failures:
                return health
            return ProbeRecord(health_state, True, 1, 0, 0, since)
        if passes + 1 >= rise:
            return ProbeRecord(HealthState.READY, True, 0, 0, 0, now)
        waiting = health_state if was_ready else HealthState.STARTING
        return ProbeRecord(waiting, was_ready, passes + 1, 0, 0, since)
    weight = 2 if verdict is ProbeResult.REFUSED else 1
    failures = min(fall, failures + weight)
    if verdict is not ProbeResult.TIMED_OUT:
        hard = min(fall, hard + weight)
    if not was_ready:
        return ProbeRecord(HealthState.STARTING, False, 0, failures, hard, since)
    after = _lost(health_state, hard, fall) if failures == fall else health_state
    return ProbeRecord(after, True, 0, failures, hard, since if after is health_state else now)


def _lost(health_state: HealthState, hard: int, fall: int) -> HealthState:
    """Tell slow from failing, of one that has failed often enough."""
    if health_state is HealthState.SLOW:
        return HealthState.FAILING if hard == fall else HealthState.SLOW
    is_hard = hard or health_state is HealthState.FAILING
    return HealthState.FAILING if is_hard else HealthState.SLOW


def adopted(health: ProbeRecord, health_state: HealthState, now: float) -> ProbeRecord:
    """
    Take over what somebody else has found.
    """
    was_ready = health.was_ready or health_state is HealthState.READY
    return ProbeRecord(health_state, was_ready, 0, 0, 0, now)


def is_silent(health: ProbeRecord) -> bool:
    """
    Tell whether it has only timed out since it last passed: asking it again may cost as much.
    """
    return bool(health.failures) and not health.hard


def wants_fast_slot(health: ProbeRecord, now: float) -> bool:
    """
    Tell whether it should be asked briskly, if there is a place.
    """
    return health.health_state is not HealthState.READY and now - health.since < _GROWN_AFTER


def pause(
    health: ProbeRecord,
    now: float,
    *,
    has_fast_slot: bool,
    is_leaving: bool,
    endpoints_total: int,
    interval: float,
    chance: float,
) -> float:
    """
    How long to wait before asking again; `endpoints_total` is how many endpoints there are.

    The first pause of one that has just become ready is any part of the interval, so that those
    that come together are not asked together for ever.
    """
    if is_leaving:
        return max(_LEAVING, endpoints_total / _CROWD)
    if health.health_state is HealthState.READY:
        if health.hard:
            return min(interval, _CALM)
        buckets = 0.2 if health.passes or health.failures else 1.0
        return interval * (1.1 - buckets * (1.0 - chance))
    if has_fast_slot:
        over = now - health.since - _BRISK_FOR
        return min(_CALM, _BRISK + max(0.0, over) * _GROWTH)
    return max(_CALM, endpoints_total / _CROWD)
