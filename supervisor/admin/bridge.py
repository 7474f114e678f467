"""
The bridge between the loop and the admin threads: the latest state, requests and replies.

The state is frozen, so threads read it without waiting for the loop, and the loop never waits for a
thread.  A request is an event, and its reply a command of the loop.
"""

import itertools
import platform
import queue
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from supervisor.admin.status_document import Observation
from supervisor.core.commands import Reply
from supervisor.core.events import DeadlineRequested, Event, StopRequested
from supervisor.core.model import Endpoint
from supervisor.core.probe_outcome import ProbeReport
from supervisor.core.state import State
from supervisor.nginx.internal_socket import Counters, GenerationSockets, read_counters
from supervisor.system.clock import boot_clock

#: Seconds until a state is stale: four missed polls of nginx, which the loop polls every 3.5 s.
_STALE = 15.0

#: How long a request waits for its reply, in seconds; that includes the write to disk.
_REPLY_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class AdminContext:
    """
    Properties of nginx and of the runtime folder that the state does not contain.

    `readers` is the group of nginx's workers, empty if they run as the supervisor's user.  `polls`
    returns the number of the supervisor's polls of nginx, `sockets` are where it responds.
    `probes` returns the last outcome of endpoints.
    """

    folder: Path
    nginx: str
    has_stub_status: bool
    is_published: bool
    readers: str
    polls: Callable[[], int]
    sockets: GenerationSockets
    probes: Callable[[Iterable[Endpoint]], Mapping[Endpoint, ProbeReport]]


class LoopBridge:
    """
    The bridge; the loop calls `publish` and `reply`, the admin threads everything else.
    """

    def __init__(self, context: AdminContext, post: Callable[[Event], None]) -> None:
        self.context = context
        self.reads = 0
        self._counter_reads = 0
        self._post = post
        self._published: tuple[State, float] | None = None
        self._tickets = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[Reply]] = {}

    def publish(self, state: State, now: float) -> None:
        """Serve this state from now on; `now` is its instant on the loop's clock."""
        self._published = (state, now)

    def reply(self, reply: Reply) -> None:
        """Pass a reply to the thread that waits for it."""
        waiting = self._waiting.pop(reply.ticket, None)
        if waiting is not None:
            waiting.put(reply)

    @property
    def state(self) -> State | None:
        """The loop's latest state; None before its first one."""
        return self._published[0] if self._published else None

    @property
    def own_requests(self) -> int:
        """How many requests to nginx are not from the service's clients: polls and admin reads."""
        return self.context.polls() + self._counter_reads + self.reads

    @property
    def is_fresh(self) -> bool:
        """Whether the latest view of nginx is recent: the loop runs and polls nginx."""
        state = self.state
        return state is not None and boot_clock() - state.view.at < _STALE

    def observe(self) -> Observation:
        """Return the values for a status that the state does not contain."""
        counters, published = self.counters(), self._published
        now = boot_clock()
        return Observation(
            now=now,
            wall=time.time(),
            current=published is not None and now - published[1] < _STALE,
            is_running=lambda pid: Path(f"/proc/{pid}").exists(),
            nginx=self.context.nginx,
            python=platform.python_version(),
            is_counting=self.context.has_stub_status,
            connections=None if counters is None else counters._asdict(),
            probes=self.context.probes,
        )

    def counters(self) -> Counters | None:
        """Read nginx's connection counters; None without stub_status or without a response."""
        if not self.context.has_stub_status:
            return None
        self._counter_reads += 1
        return read_counters(self.context.sockets)

    def move(self, by: float | None, until: float | None) -> Reply | None:
        """Request another deadline and wait for the reply; None after a timeout."""
        return self._request(lambda ticket: DeadlineRequested(ticket, time.time(), by, until))

    def stop(self) -> Reply | None:
        """Request the shutdown and wait for the reply; None after a timeout."""
        return self._request(StopRequested)

    def _request(self, make_event: Callable[[int], Event]) -> Reply | None:
        ticket, replies = next(self._tickets), queue.SimpleQueue[Reply]()
        self._waiting[ticket] = replies
        self._post(make_event(ticket))
        try:
            return replies.get(timeout=_REPLY_TIMEOUT)
        except queue.Empty:
            self._waiting.pop(ticket, None)
            return None
