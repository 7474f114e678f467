"""
The prober: one thread that asks every endpoint, each at its pace, and posts what changed.

What follows from a verdict is decided in `health`; here is who is asked when.  Whoever is not being
asked has one instant at which it is due; an entry of the heap counts only as long as its instant is
still the one that stands on the record.

Nothing of an internal error is caught: a prober that is dead or blind would be worse than none.
"""

import threading
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from supervisor.core.commands import SetProbeTargets
from supervisor.core.config.settings import Settings
from supervisor.core.events import Event, HealthChanged
from supervisor.core.model import NEVER, Endpoint, HealthState
from supervisor.health import state
from supervisor.health.probe import LocalError, ProbeTarget
from supervisor.health.probe_pool import ProbePool, on_beat
from supervisor.health.state import ProbeResult
from supervisor.system.jitter import chance

#: Between two events, at least, and for each endpoint.
_GAP = 0.005
_GAP_EACH = 5e-6


class HealthChanges:
    """
    The conditions to be told with the next event.
    """

    def __init__(self, post: Callable[[Event], None]) -> None:
        self._post = post
        self._conditions: dict[Endpoint, HealthState] = {}
        self._next = 0.0

    @property
    def due(self) -> float:
        """When there is something to be told."""
        return self._next if self._conditions else NEVER

    def note(self, endpoint: Endpoint, health_state: HealthState) -> None:
        """Take in that an endpoint has another condition."""
        self._conditions[endpoint] = health_state

    def drop(self, endpoint: Endpoint) -> None:
        """Say nothing of an endpoint that is gone."""
        self._conditions.pop(endpoint, None)

    def post(self, now: float, endpoints_total: int) -> None:
        """Post what is due, of so many endpoints in all."""
        if now >= self.due:
            self._post(HealthChanged(self._conditions))
            self._conditions = {}
            self._next = now + max(_GAP, _GAP_EACH * endpoints_total)


#: So many endpoints that do not serve are asked briskly at once.
_PLACES = 100

#: A few endpoints share their wake-ups: a lonely probe costs four times one among many.  They are
#: asked on beats of this part of the interval.
_FEW = 100
_SHARED = 0.1
_LEAST_SHARED = 0.03

#: When to try again what failed here, and not there.
_OURS_LATER = 0.5


class Prober:
    """
    A thread that probes by TCP or HTTP whatever it is told to watch.
    """

    def __init__(self, settings: Settings, post: Callable[[Event], None]) -> None:
        self._rise, self._fall = settings.health_rise, settings.health_fall
        self._interval, self._timeout = settings.health_interval, settings.health_timeout
        # None is skipped: who goes by one and comes by the next has been forgotten in between by
        # who gave them, and has to be told anew.
        self._commands: deque[SetProbeTargets] = deque()
        self._lines = ProbePool(settings)
        self._news = HealthChanges(post)
        self._records: dict[Endpoint, ProbeTarget] = {}
        self._leaving: frozenset[Endpoint] = frozenset()
        self._fast_slots = 0
        self._sequence = count()
        self._due: list[tuple[float, int, ProbeTarget]] = []

    def start(self) -> None:
        """Start the thread; it rests until it is told whom to watch."""
        threading.Thread(target=self._run, name="probes", daemon=True).start()

    def watch(self, order: SetProbeTargets) -> None:
        """Probe these from now on; what is known of those that stay is kept.  From any thread."""
        self._commands.append(order)
        self._lines.wake()

    def _run(self) -> None:
        while True:
            launch_at = self._due[0][0] if self._due and self._lines.has_room else NEVER
            now, ended = self._lines.wait(min(launch_at, self._news.due))
            for record, verdict in ended:
                self._judge(record, verdict, now)
            while self._commands:
                self._apply(self._commands.popleft(), now)
            self._news.post(now, len(self._records))
            self._start_due(now)

    def _apply(self, order: SetProbeTargets, now: float) -> None:
        wanted = order.endpoints | order.leaving
        for endpoint in self._records.keys() - wanted:
            self._forget(self._records.pop(endpoint))
        for endpoint in wanted - self._records.keys():
            record = ProbeTarget(
                endpoint, state.new_record(now, was_ready=endpoint in order.was_ready)
            )
            self._records[endpoint] = record
            self._plan(record, now)
        for endpoint in (order.leaving ^ self._leaving) & wanted:
            record = self._records[endpoint]
            record.is_leaving = endpoint in order.leaving
            if record.is_leaving and not record.connection:
                self._plan(record, min(record.due, now + self._pause(record, now)))
        self._leaving = order.leaving

    def _forget(self, record: ProbeTarget) -> None:
        self._lines.close(record)
        self._news.drop(record.endpoint)
        self._fast_slots -= record.has_fast_slot
        record.due = NEVER

    def _start_due(self, now: float) -> None:
        """Ask all that are due, as far as there is room for more."""
        while self._due and self._due[0][0] <= now and self._lines.has_room:
            due, _, record = heappop(self._due)
            if due != record.due or record.connection:
                continue  # it was planned anew since
            if not self._lines.may_open(record):
                self._plan(record, now + self._timeout / 2)
                continue
            try:
                verdict = self._lines.open(record, now)
            except LocalError:
                self._judge(record, None, now)
                continue
            if verdict:
                self._judge(record, verdict, now)

    def _judge(self, record: ProbeTarget, verdict: ProbeResult | None, now: float) -> None:
        """Take in what a probe found, and plan the next; None is that it was our own trouble."""
        if verdict is None:
            self._plan(record, now + _OURS_LATER)
            return
        before = record.health
        after = state.judge(before, verdict, now, self._rise, self._fall)
        record.health = after
        if after.health_state is not before.health_state:
            self._news.note(record.endpoint, after.health_state)
        wants = not record.is_leaving and state.wants_fast_slot(after, now)
        if record.has_fast_slot != wants and (record.has_fast_slot or self._fast_slots < _PLACES):
            record.has_fast_slot = wants
            self._fast_slots += 1 if wants else -1
        self._plan(record, now + self._pause(record, now))

    def _plan(self, record: ProbeTarget, due: float) -> None:
        if record.is_well and len(self._records) <= _FEW:
            due = on_beat(record, due, max(_SHARED * self._interval, _LEAST_SHARED))
        record.due = due = on_beat(record, due)
        heappush(self._due, (due, next(self._sequence), record))

    def _pause(self, record: ProbeTarget, now: float) -> float:
        return state.pause(
            record.health,
            now,
            has_fast_slot=record.has_fast_slot,
            is_leaving=record.is_leaving,
            endpoints_total=len(self._records),
            interval=self._interval,
            chance=chance(),
        )
