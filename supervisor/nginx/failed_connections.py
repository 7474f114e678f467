"""
The endpoints to which nginx cannot connect, from the lines that it logs.

Such a line is evidence, not proof: it may be old, and a client can put the same text into its
request.  So it only leads to a probe.  nginx may log thousands of lines a second; they are merged
here, in the thread that reads them, and the loop gets few events.
"""

import re

from supervisor.core.addresses import canonical, read_address
from supervisor.core.model import NEVER, Endpoint

_MARK = ', upstream: "http://'
_FAILED = re.compile(
    r"(?:\*[0-9]+ )?(?:(?:connect|recv|send|writev|sendfile)\(\) failed"
    r"|upstream prematurely closed connection"
    r"|upstream timed out \([^)]*\) while connecting)"
)
_ADDRESS = re.compile(r'(?:\[([0-9a-f:.]+)\]|([0-9.]+)):([0-9]{1,5})[/?"]')

#: The least time between two events, in seconds, and the most endpoints in one.
_GAP = 0.01
_MAX_SUSPECTS = 1000


def unreachable(text: str) -> Endpoint | None:
    """
    Return the endpoint that nginx cannot reach according to this line, or None.
    """
    _, mark, after = text.partition(_MARK)
    if not mark or not _FAILED.match(text):
        return None
    match = _ADDRESS.match(after)
    address = read_address(match[1] or match[2]) if match else None
    if match is None or address is None:
        return None
    return Endpoint(canonical(address), int(match[3]))


class Suspects:
    """
    The endpoints that wait for the next event.
    """

    def __init__(self) -> None:
        self._waiting: set[Endpoint] = set()
        self._next = 0.0

    @property
    def due(self) -> float:
        """When the next event is due."""
        return self._next if self._waiting else NEVER

    def add(self, endpoint: Endpoint) -> None:
        """Add an endpoint, unless there are too many."""
        if len(self._waiting) < _MAX_SUSPECTS:
            self._waiting.add(endpoint)

    def take(self, now: float) -> frozenset[Endpoint]:
        """Return the endpoints of the event that is due, and forget them; or nothing."""
        if now < self.due:
            return frozenset()
        taken = frozenset(self._waiting)
        self._waiting.clear()
        self._next = now + _GAP
        return taken
