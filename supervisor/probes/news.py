"""
What changed and is not told yet.

Each event costs the policy a merge over all endpoints, so with many of them it is told more seldom;
what changes after a calm time is told at once.
"""

from collections.abc import Callable

from supervisor.events import Event, HealthSeen
from supervisor.model import NEVER, Condition, Endpoint

#: Between two events, at least, and for each endpoint.
_GAP = 0.005
_GAP_EACH = 5e-6


class News:
    """
    The conditions to be told with the next event.
    """

    def __init__(self, post: Callable[[Event], None]) -> None:
        self._post = post
        self._conditions: dict[Endpoint, Condition] = {}
        self._next = 0.0

    @property
    def due(self) -> float:
        """When there is something to be told."""
        return self._next if self._conditions else NEVER

    def note(self, endpoint: Endpoint, condition: Condition) -> None:
        """Take in that an endpoint has another condition."""
        self._conditions[endpoint] = condition

    def drop(self, endpoint: Endpoint) -> None:
        """Say nothing of an endpoint that is gone."""
        self._conditions.pop(endpoint, None)

    def tell(self, now: float, crowd: int) -> None:
        """Post what is due, of so many endpoints in all."""
        if now >= self.due:
            self._post(HealthSeen(self._conditions))
            self._conditions = {}
            self._next = now + max(_GAP, _GAP_EACH * crowd)
