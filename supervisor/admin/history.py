"""
The samples for the page's plots: one every five seconds, for the last 15 minutes.

Kept outside the state, because no decision depends on them.
"""

import threading
from collections import deque
from typing import Any, NamedTuple

from supervisor.admin.bridge import LoopBridge
from supervisor.admin.status_document import Observation, health_counts
from supervisor.system.clock import boot_clock

INTERVAL = 5.0
MAX_SAMPLES = 180


class _Sample(NamedTuple):
    """One sample; `at` is on the loop's clock, so setting the wall clock distorts no plot."""

    at: float
    ready: int
    rate: float | None
    connections: int | None


class History:
    """
    The ring buffer of samples and the thread that fills it.
    """

    def __init__(self, bridge: LoopBridge) -> None:
        self._bridge = bridge
        self._ring: deque[_Sample] = deque(maxlen=MAX_SAMPLES)
        self._previous: tuple[float, int] | None = None

    def start(self) -> None:
        """Start to take samples."""
        threading.Thread(target=self._run, name="history", daemon=True).start()

    def columns(self, observation: Observation) -> dict[str, Any]:
        """Return the samples as columns, oldest first, their times as epoch seconds."""
        ring = list(self._ring)
        return {
            "every": INTERVAL,
            "at": [round(observation.wall - (observation.now - sample.at), 3) for sample in ring],
            "ready": [sample.ready for sample in ring],
            "requests_per_second": [sample.rate for sample in ring],
            "connections": [sample.connections for sample in ring],
        }

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(INTERVAL):
            self._take_sample()

    def _take_sample(self) -> None:
        state, now = self._bridge.state, boot_clock()
        if state is None:
            return
        is_probing = state.endpoint_set.is_probing
        ready = health_counts(state)["ready"] if is_probing else state.view.endpoints
        clients, rate = self._bridge.clients(), None
        if clients is not None:
            if self._previous is not None:
                at, before = self._previous
                new = clients.requests - (before if clients.requests >= before else 0)
                rate = round(new / max(0.001, now - at), 2)
            self._previous = (now, clients.requests)
        active = None if clients is None else clients.connections
        self._ring.append(_Sample(now, ready, rate, active))
