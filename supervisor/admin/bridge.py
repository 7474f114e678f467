"""
The bridge between the loop and the admin threads: the latest state, requests and replies.

The state is frozen, so threads read it without waiting for the loop, and the loop never waits for a
thread.  A request is an event, and its reply a command of the loop.
"""

import itertools
import platform
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from supervisor.admin.status_document import Observation
from supervisor.core.commands import Reply
from supervisor.core.events import DeadlineRequested, Event, StopRequested
from supervisor.core.model import Endpoint
from supervisor.core.probe_outcome import ProbeReport
from supervisor.core.state import State
from supervisor.core.values import value_class
from supervisor.nginx import workers
from supervisor.nginx.internal_socket import Counters, GenerationSockets, read_counters
from supervisor.system.clock import boot_clock

#: Seconds until a state is stale: four missed polls of nginx, which the loop polls every 3.5 s.
_STALE = 15.0

#: How long a request waits for its reply, in seconds; that includes the write to disk.
_REPLY_TIMEOUT = 5.0

#: How often to read nginx's counters again if the supervisor sends another request meanwhile.
_COUNT_RETRIES = 2


@value_class(frozen=True, slots=True)
class AdminContext:
    """
    Properties of nginx and of the runtime folder that the state does not contain.

    `admin_port` is ADMIN_PORT, `readers` is the group of nginx's workers, empty if they run as the
    supervisor's user.  `polls` returns the number of the supervisor's polls of nginx, `sockets` are
    where it responds.  `probes` returns the last outcome of endpoints.
    """

    folder: Path
    nginx: str
    has_stub_status: bool
    admin_port: int | None
    readers: str
    polls: Callable[[], int]
    sockets: GenerationSockets
    probes: Callable[[Iterable[Endpoint]], Mapping[Endpoint, ProbeReport]]


class Clients(NamedTuple):
    """
    What the service's clients do: their open connections, and their requests since nginx's start.

    nginx counts the supervisor's polls and what the admin port serves as well; these are left out.
    """

    connections: int
    requests: int


class LoopBridge:
    """
    The bridge; the loop calls `publish` and `reply`, the admin threads everything else.
    """

    def __init__(self, context: AdminContext, post: Callable[[Event], None]) -> None:
        self.context = context
        self.reads = 0
        self._counter_reads = 0
        self._counting = threading.Lock()
        self._master = 0
        self._own_before = 0
        self._post = post
        self._published: tuple[State, float] | None = None
        self._tickets = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[Reply]] = {}

    def publish(self, state: State, now: float) -> None:
        """Serve this state from now on; `now` is its instant on the loop's clock."""
        if state.master.pid != self._master:  # a new nginx counts from zero
            self._master, self._own_before = state.master.pid, self._own_requests
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
    def _own_requests(self) -> int:
        """How many requests to nginx are not from the service's clients: polls and admin reads."""
        return self.context.polls() + self._counter_reads + self.reads

    @property
    def is_fresh(self) -> bool:
        """Whether the latest view of nginx is recent: the loop runs and polls nginx."""
        state = self.state
        return state is not None and boot_clock() - state.view.at < _STALE

    def observe(self) -> Observation:
        """Return the values for a status that the state does not contain."""
        counters, clients = self._count()
        published = self._published
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
            clients=None if clients is None else clients._asdict(),
        )

    def clients(self) -> Clients | None:
        """Return what the clients do; None without stub_status or without a response."""
        return self._count()[1]

    def _count(self) -> tuple[Counters, Clients] | tuple[None, None]:
        """Read nginx's counters, and derive from them what the clients do."""
        if not self.context.has_stub_status:
            return None, None
        with self._counting:  # so that there is one connection that reads them
            counters, own = self._read_counters()
            for _ in range(_COUNT_RETRIES):
                if counters is None or own == self._own_requests:
                    break
                counters, own = self._read_counters()
        if counters is None:
            return None, None
        port = self.context.admin_port
        looking = 1 + (0 if port is None else workers.accepted_connections(port))
        return counters, Clients(
            max(0, counters.active - looking),
            max(0, counters.requests - (own - self._own_before)),
        )

    def _read_counters(self) -> tuple[Counters | None, int]:
        """Return nginx's counters, and the own requests until then if none was sent meanwhile."""
        own = self._own_requests + 1
        counters = read_counters(self.context.sockets)
        self._counter_reads += counters is not None
        return counters, own

    def move(
        self, by: float | None, until: float | None, *, only_balancer: bool = False
    ) -> Reply | None:
        """Request another deadline and wait for the reply; None after a timeout."""
        wall = time.time()
        return self._request(
            lambda ticket: DeadlineRequested(ticket, wall, by, until, only_balancer)
        )

    def stop(self, *, only_balancer: bool = False) -> Reply | None:
        """Request the shutdown and wait for the reply; None after a timeout."""
        wall = time.time()
        return self._request(lambda ticket: StopRequested(ticket, wall, only_balancer))

    def _request(self, make_event: Callable[[int], Event]) -> Reply | None:
        ticket, replies = next(self._tickets), queue.SimpleQueue[Reply]()
        self._waiting[ticket] = replies
        self._post(make_event(ticket))
        try:
            return replies.get(timeout=_REPLY_TIMEOUT)
        except queue.Empty:
            self._waiting.pop(ticket, None)
            return None
