"""
The prober: one thread that probes every endpoint at its interval, and posts the changes.

`state` turns results into health states; this module schedules the probes.  An endpoint without a
probe in progress has one time at which it is due; an entry of the heap is valid only while it
equals the one of its target.

Internal errors are not caught: a prober that has stopped unnoticed would be worse than an exit.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count

from supervisor.core.commands import ProbeNow, SetProbeTargets
from supervisor.core.config.settings import Settings
from supervisor.core.events import Event, HealthChanged
from supervisor.core.model import NEVER, Endpoint, HealthState
from supervisor.core.probe_outcome import Outcome, ProbeReport
from supervisor.health import state
from supervisor.health.probe import LocalError, ProbeTarget
from supervisor.health.probe_pool import ProbePool, align
from supervisor.health.state import ProbeResult
from supervisor.system.jitter import chance

#: Minimum time between two events, in seconds, and per endpoint.
_MIN_GAP = 0.005
_GAP_PER_ENDPOINT = 5e-6


class HealthChanges:
    """
    The health changes to post with the next event.
    """

    def __init__(self, post: Callable[[Event], None]) -> None:
        self._post = post
        self._changes: dict[Endpoint, HealthState] = {}
        self._next = 0.0

    @property
    def due(self) -> float:
        """When the next event is due."""
        return self._next if self._changes else NEVER

    def add(self, endpoint: Endpoint, health_state: HealthState) -> None:
        """Record the new state of an endpoint."""
        self._changes[endpoint] = health_state

    def discard(self, endpoint: Endpoint) -> None:
        """Remove the change of an endpoint that is gone."""
        self._changes.pop(endpoint, None)

    def post(self, now: float, endpoints_total: int) -> None:
        """Post the changes if they are due; the gap depends on the number of all endpoints."""
        if now >= self.due:
            self._post(HealthChanged(self._changes))
            self._changes = {}
            self._next = now + max(_MIN_GAP, _GAP_PER_ENDPOINT * endpoints_total)


#: How many endpoints that are not ready are probed at the fast interval at once.
_MAX_FAST_SLOTS = 100

#: Up to this many endpoints share wake-ups: a single probe costs four times as much as one among
#: many.  Their times are rounded up to a multiple of this fraction of the interval, and of at least
#: `_MIN_ALIGNMENT` seconds.
_MAX_ALIGNED = 100
_ALIGNED_FRACTION = 0.1
_MIN_ALIGNMENT = 0.03

#: When to probe again after a local error, in seconds.
_LOCAL_ERROR_PAUSE = 0.5


class Prober:
    """
    A thread that probes the current targets by TCP or HTTP.
    """

    def __init__(self, settings: Settings, post: Callable[[Event], None]) -> None:
        self._rise, self._fall = settings.health_rise, settings.health_fall
        self._interval, self._timeout = settings.health_interval, settings.health_timeout
        # No command may be skipped: for an endpoint that one removes and the next adds again, the
        # loop has dropped the state and needs a new event.
        self._commands: deque[SetProbeTargets | ProbeNow] = deque()
        self._pool = ProbePool(settings)
        self._changes = HealthChanges(post)
        self._targets: dict[Endpoint, ProbeTarget] = {}
        self._leaving: frozenset[Endpoint] = frozenset()
        self._fast_slots = 0
        self._sequence = count()
        self._due: list[tuple[float, int, ProbeTarget]] = []

    def start(self) -> None:
        """Start the thread; it waits for the first targets."""
        threading.Thread(target=self._run, name="probes", daemon=True).start()

    def watch(self, targets: SetProbeTargets) -> None:
        """Probe these from now on; the health of endpoints that stay is kept.  Thread-safe."""
        self._commands.append(targets)
        self._pool.wake()

    def probe(self, suspects: ProbeNow) -> None:
        """Probe these targets at once; nginx cannot connect to them.  Thread-safe."""
        self._commands.append(suspects)
        self._pool.wake()

    def reports(self, endpoints: Iterable[Endpoint]) -> dict[Endpoint, ProbeReport]:
        """Return the last outcome of those whose first probe has ended.  Thread-safe."""
        now, found = time.monotonic(), {}
        for endpoint in endpoints:
            target = self._targets.get(endpoint)
            if target and target.outcome:
                found[endpoint] = ProbeReport(target.outcome, max(0.0, now - target.ended_at))
        return found

    def _run(self) -> None:
        while True:
            next_due = self._due[0][0] if self._due and self._pool.has_capacity else NEVER
            now, ended = self._pool.wait(min(next_due, self._changes.due))
            for target, outcome in ended:
                self._on_outcome(target, outcome, now)
            while self._commands:
                command = self._commands.popleft()
                if isinstance(command, ProbeNow):
                    self._suspect(command, now)
                else:
                    self._apply(command, now)
            self._changes.post(now, len(self._targets))
            self._start_due(now)

    def _apply(self, command: SetProbeTargets, now: float) -> None:
        wanted = command.endpoints | command.leaving
        for endpoint in self._targets.keys() - wanted:
            self._remove(self._targets.pop(endpoint))
        for endpoint in wanted - self._targets.keys():
            target = ProbeTarget(
                endpoint, state.new_record(now, was_ready=endpoint in command.was_ready)
            )
            self._targets[endpoint] = target
            self._schedule(target, now)
        for endpoint in (command.leaving ^ self._leaving) & wanted:
            target = self._targets[endpoint]
            target.is_leaving = endpoint in command.leaving
            if target.is_leaving and not target.connection:
                self._schedule(target, min(target.due, now + self._pause(target, now)))
        self._leaving = command.leaving

    def _suspect(self, command: ProbeNow, now: float) -> None:
        """Make probes due: at once, but none sooner after the last than the interval allows."""
        for endpoint in command.endpoints & self._targets.keys():
            target = self._targets[endpoint]
            target.suspected_at = now
            due = max(now, target.started_at + state.SUSPECT_INTERVAL)
            if not target.connection and due < target.due:
                self._schedule(target, due)

    def _remove(self, target: ProbeTarget) -> None:
        self._pool.close(target)
        self._changes.discard(target.endpoint)
        self._fast_slots -= target.has_fast_slot
        target.due = NEVER

    def _start_due(self, now: float) -> None:
        """Start the probes that are due, as far as there is capacity."""
        while self._due and self._due[0][0] <= now and self._pool.has_capacity:
            due, _, target = heappop(self._due)
            if due != target.due or target.connection:
                continue  # it was rescheduled
            if not self._pool.may_open(target):
                self._schedule(target, now + self._timeout / 2)
                continue
            target.started_at = now
            try:
                outcome = self._pool.open(target, now)
            except LocalError:
                self._on_outcome(target, None, now)
                continue
            if outcome:
                self._on_outcome(target, outcome, now)

    def _on_outcome(self, target: ProbeTarget, outcome: Outcome | None, now: float) -> None:
        """Process an outcome, and schedule the next probe; None means a local error."""
        if outcome is None:
            self._schedule(target, now + _LOCAL_ERROR_PAUSE)
            return
        target.ended_at, target.outcome = now, outcome
        before, result = target.health, state.result_of(outcome)
        after = state.apply_result(
            before, result, now, self._rise, self._fall, is_suspected=target.is_suspected
        )
        target.health = after
        # A probe that began before the failed connection proves nothing about it.
        is_cleared = result is ProbeResult.PASSED and target.suspected_at <= target.started_at
        if is_cleared or after.health_state is not HealthState.READY:
            target.suspected_at = -NEVER
        if after.health_state is not before.health_state:
            self._changes.add(target.endpoint, after.health_state)
        wants = not target.is_leaving and state.wants_fast_slot(after, now)
        if target.has_fast_slot != wants and (
            target.has_fast_slot or self._fast_slots < _MAX_FAST_SLOTS
        ):
            target.has_fast_slot = wants
            self._fast_slots += 1 if wants else -1
        self._schedule(target, now + self._pause(target, now))

    def _schedule(self, target: ProbeTarget, due: float) -> None:
        if target.is_stable and len(self._targets) <= _MAX_ALIGNED:
            due = align(target, due, max(_ALIGNED_FRACTION * self._interval, _MIN_ALIGNMENT))
        target.due = due = align(target, due)
        heappush(self._due, (due, next(self._sequence), target))

    def _pause(self, target: ProbeTarget, now: float) -> float:
        return state.pause(
            target.health,
            now,
            has_fast_slot=target.has_fast_slot,
            is_leaving=target.is_leaving,
            is_suspected=target.is_suspected,
            endpoints_total=len(self._targets),
            interval=self._interval,
            chance=chance(),
        )
