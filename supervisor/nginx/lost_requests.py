"""
Requests that ended with their replica: read from nginx's error lines, counted during a drain.

nginx keeps such a client's connection for its 502, so counting connections cannot show them.  A
failure is not always a loss: nginx repeats a request once if that is safe.  So a request counts as
lost when its response had begun, when it may not be repeated, or when no try was left.

Exact but for two cases: a failure on a reused connection is not a try for nginx, so a request that
succeeded after two failures counts; and a body that is not buffered (MAX_BODY_SIZE=0) cannot be
repeated, so a PUT or DELETE with one does not count.
"""

import re
from collections.abc import Callable
from time import monotonic

from supervisor.nginx.socket_names import CURRENT_LINK

#: `*N` is the number of the client's connection, unique over all workers of a master.
_FAILURE = re.compile(
    r"\*(?P<connection>\d+) (?P<what>.*?) while (?P<doing>connecting to upstream"
    r"|sending request to upstream|reading response header from upstream|reading upstream"
    r"|proxying upgraded connection), client: [^,]*, server: [^,]*, "
    r'request: "(?P<method>\S+) .*, upstream: "(?P<upstream>[^"]*)'
)
_NONE_LEFT = "no live upstreams"
_BEGUN = frozenset({"reading upstream", "proxying upgraded connection"})
_NOT_SENT = "connecting to upstream"

#: The methods that nginx does not repeat once they were sent, and its tries in `nginx.conf.j2`.
_NOT_REPEATED = frozenset({"POST", "LOCK", "PATCH"})
_MAX_TRIES = 2

#: Upstreams of our own sockets: without the first, a request of an old worker has no other try; the
#: second serves the admin port.
_CURRENT, _ADMIN = f"/{CURRENT_LINK}", "/readers.sock"

#: A replica with the same deadline may end this long before the drain begins, in seconds.
_LOOK_BACK = 1.0

_ALWAYS_LOST = 1_000


class LostRequests:
    """
    The failures of the last second, and from `begin` on of the whole drain.
    """

    def __init__(
        self, *, repeats_post: bool = False, clock: Callable[[], float] = monotonic
    ) -> None:
        self._clock = clock
        self._not_repeated = frozenset() if repeats_post else _NOT_REPEATED
        self._failures: dict[str, tuple[float, int]] = {}  # by connection, oldest first
        self._tries = 0

    def begin(self, endpoints: int) -> None:
        """
        Keep what fails from now on; with one endpoint there is one try.
        """
        self._forget()
        self._tries = max(1, min(_MAX_TRIES, endpoints))

    def record(self, text: str) -> None:
        """
        Record a line of nginx at level error, if it reports a failure of a replica.
        """
        failure = _FAILURE.search(text)
        if failure is None or _ADMIN in failure["upstream"]:
            return
        is_sent = failure["doing"] != _NOT_SENT
        is_lost = (
            failure["doing"] in _BEGUN
            or (is_sent and failure["method"] in self._not_repeated)
            or failure["what"] == _NONE_LEFT
            or _CURRENT in failure["upstream"]
        )
        _, failures = self._failures.pop(failure["connection"], (0.0, 0))
        failures += _ALWAYS_LOST if is_lost else 1
        self._failures[failure["connection"]] = (self._clock(), failures)
        if not self._tries:
            self._forget()

    @property
    def count(self) -> int:
        """
        The number of lost requests; 0 before `begin`.
        """
        return sum(bool(0 < self._tries <= failures) for _, failures in self._failures.values())

    def _forget(self) -> None:
        """Drop what failed longer ago than a drain looks back."""
        since = self._clock() - _LOOK_BACK
        while self._failures:
            oldest = next(iter(self._failures))
            if self._failures[oldest][0] >= since:
                return
            del self._failures[oldest]
