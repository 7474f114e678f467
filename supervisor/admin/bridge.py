"""
The window between the loop and who asks: the loop's last state, and the wishes that wait.

The state is frozen, so it is shown as it is: nobody waits for the loop, and the loop for nobody.  A
wish is an event, and its answer an order like any other.
"""

import itertools
import platform
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from supervisor.admin.status_document import Observation
from supervisor.core.commands import Reply
from supervisor.core.events import DeadlineRequested, Event, StopRequested
from supervisor.core.state import State
from supervisor.nginx.internal_socket import SOCKET_NAME, Counters, read_counters
from supervisor.system.clock import boot_clock

#: Nginx is looked at every 3.5 s; after missing four looks nobody knows whether it answers.
_STALE = 15.0

#: How long a wish waits for its answer, in seconds: the disk's time included.
_REPLY_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class AdminContext:
    """
    What has to be known of the rest: nginx, and who reads over the network.

    `readers` is the group of nginx's workers, empty where they run as we do; `polls` tells how
    often we have asked nginx ourselves.
    """

    folder: Path
    nginx: str
    has_stub_status: bool
    is_published: bool
    readers: str
    polls: Callable[[], int]


class LoopBridge:
    """
    What is seen and asked through it; all but `publish` and `reply` is for the readers' threads.
    """

    def __init__(self, context: AdminContext, post: Callable[[Event], None]) -> None:
        self.context = context
        self.reads = 0
        self._asked = 0
        self._post = post
        self._shown: tuple[State, float] | None = None
        self._tickets = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[Reply]] = {}

    def publish(self, state: State, now: float) -> None:
        """Show this state from now on, which was true at an instant on the loop's clock."""
        self._shown = (state, now)

    def reply(self, reply: Reply) -> None:
        """Hand the answer to who waits for it."""
        waiting = self._waiting.pop(reply.ticket, None)
        if waiting is not None:
            waiting.put(reply)

    @property
    def state(self) -> State | None:
        """The loop's last state; None before it has begun."""
        return self._shown[0] if self._shown else None

    @property
    def own_requests(self) -> int:
        """How many of nginx's requests are no client's: looks, counts, and who reads here."""
        return self.context.polls() + self._asked + self.reads

    @property
    def is_fresh(self) -> bool:
        """Tell whether somebody knows how nginx is: the loop turns, and has heard of it."""
        state = self.state
        return state is not None and boot_clock() - state.view.at < _STALE

    def seen(self) -> Observation:
        """Look at what the state does not know."""
        counters, shown = self.counters(), self._shown
        now = boot_clock()
        return Observation(
            now=now,
            wall=time.time(),
            current=shown is not None and now - shown[1] < _STALE,
            lives=lambda pid: Path(f"/proc/{pid}").exists(),
            nginx=self.context.nginx,
            python=platform.python_version(),
            is_counting=self.context.has_stub_status,
            connections=None if counters is None else counters._asdict(),
        )

    def counters(self) -> Counters | None:
        """Ask nginx what it counts; None where it cannot, or does not answer."""
        if not self.context.has_stub_status:
            return None
        self._asked += 1
        return read_counters(str(self.context.folder / SOCKET_NAME))

    def move(self, by: float | None, until: float | None) -> Reply | None:
        """Ask for another deadline, and wait for what becomes of it; None where nothing did."""
        return self._ask(lambda ticket: DeadlineRequested(ticket, time.time(), by, until))

    def stop(self) -> Reply | None:
        """Ask for the end to begin, and wait for what becomes of it; None where nothing did."""
        return self._ask(StopRequested)

    def _ask(self, wish: Callable[[int], Event]) -> Reply | None:
        ticket, answer = next(self._tickets), queue.SimpleQueue[Reply]()
        self._waiting[ticket] = answer
        self._post(wish(ticket))
        try:
            return answer.get(timeout=_REPLY_TIMEOUT)
        except queue.Empty:
            self._waiting.pop(ticket, None)
            return None
