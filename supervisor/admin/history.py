"""
What the small plots are made of: a look every five seconds, for the last quarter of an hour.

Kept here and not in the state, because nothing is decided by it.
"""

import threading
from collections import deque
from typing import Any, NamedTuple

from supervisor.admin.bridge import LoopBridge
from supervisor.admin.status_document import Observation, health_counts
from supervisor.system.clock import boot_clock

EVERY = 5.0
KEPT = 180


class _Sample(NamedTuple):
    """One look; `at` is on the loop's clock, so that a clock that is set does not bend a plot."""

    at: float
    ready: int
    rate: float | None
    connections: int | None


class History:
    """
    The ring, and the thread that fills it.
    """

    def __init__(self, bridge: LoopBridge) -> None:
        self._bridge = bridge
        self._ring: deque[_Sample] = deque(maxlen=KEPT)
        self._before: tuple[float, int, int] | None = None

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name="samples", daemon=True).start()

    def columns(self, seen: Observation) -> dict[str, Any]:
        """Return the samples as columns, oldest first, their times as epoch seconds."""
        ring = list(self._ring)
        return {
            "every": EVERY,
            "at": [round(seen.wall - (seen.now - each.at), 3) for each in ring],
            "ready": [each.ready for each in ring],
            "requests_per_second": [each.rate for each in ring],
            "connections": [each.connections for each in ring],
        }

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(EVERY):
            self._take()

    def _take(self) -> None:
        state, now = self._bridge.state, boot_clock()
        if state is None:
            return
        probed = state.endpoint_set.is_probing
        ready = health_counts(state)["ready"] if probed else state.view.endpoints
        counters = self._bridge.counters()
        rate = None
        if counters is not None:
            ours = self._bridge.own_requests
            if self._before is not None:
                at, requests, known = self._before
                fresh = counters.requests - (requests if counters.requests >= requests else 0)
                rate = round(max(0.0, fresh - (ours - known)) / max(0.001, now - at), 2)
            self._before = (now, counters.requests, ours)
        active = None if counters is None else counters.active
        self._ring.append(_Sample(now, ready, rate, active))
