"""
The queue of events that the loop consumes; any thread may post.
"""

import queue

from supervisor.core.events import Event, SignalArrived, TimePassed


class Inbox:
    """
    The one queue.  A signal that is waiting there already is not queued again.
    """

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._waiting: set[SignalArrived] = set()

    def post(self, event: Event) -> None:
        """Hand over an event, from any thread."""
        self._events.put(event)

    def post_signal(self, signum: int) -> None:
        """Hand over a signal; of equal ones that wait, as in the kernel, one says it all."""
        event = SignalArrived(signum)
        if event in self._waiting:
            return
        self._waiting.add(event)
        self._events.put(event)

    def next(self, within: float) -> Event:
        """Wait for an event at most `within` seconds; none is an event too."""
        try:
            event = self._events.get(timeout=max(0.0, within))
        except queue.Empty:
            return TimePassed()
        if isinstance(event, SignalArrived):
            self._waiting.discard(event)
        return event
