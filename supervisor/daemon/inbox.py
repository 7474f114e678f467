"""
The queue of events for the loop; any thread may post.
"""

import queue

from supervisor.core.events import Event, SignalArrived, TimePassed


class Inbox:
    """
    The event queue.  A signal that is already queued is not queued again.
    """

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._queued_signals: set[SignalArrived] = set()

    def post(self, event: Event) -> None:
        """Queue an event; may be called from any thread."""
        self._events.put(event)

    def post_signal(self, signum: int) -> None:
        """Queue a signal unless the same signal is queued already, as the kernel does."""
        event = SignalArrived(signum)
        if event in self._queued_signals:
            return
        self._queued_signals.add(event)
        self._events.put(event)

    def next(self, within: float) -> Event:
        """Wait for an event at most `within` seconds; then return TimePassed."""
        try:
            event = self._events.get(timeout=max(0.0, within))
        except queue.Empty:
            return TimePassed()
        if isinstance(event, SignalArrived):
            self._queued_signals.discard(event)
        return event
