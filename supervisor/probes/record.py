"""
What the prober keeps of one endpoint; small, because there may be ten thousand.
"""

from supervisor.health import Health
from supervisor.model import Condition, Endpoint
from supervisor.probes.line import Line


class Record:
    """
    An endpoint, what is known of it, when it is due, and the probe that is under way.

    `has_place` is one of the few places for brisk probes; `is_silent` marks a probe under way of
    an endpoint that was silent the last time.
    """

    __slots__ = ("due", "endpoint", "has_place", "health", "is_leaving", "is_silent", "line")

    def __init__(self, endpoint: Endpoint, health: Health) -> None:
        self.endpoint = endpoint
        self.health = health
        self.due = 0.0
        self.line: Line | None = None
        self.has_place = False
        self.is_leaving = False
        self.is_silent = False

    @property
    def is_awaited(self) -> bool:
        """Whether somebody may be waiting for it to serve."""
        return self.has_place or self.health.condition is Condition.UNKNOWN

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong with it: it does not matter to the instant when it is asked."""
        is_ready = self.health.condition is Condition.READY
        return is_ready and not self.health.failures and not self.is_leaving
