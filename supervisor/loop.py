"""
The loop: takes events, asks the policy, performs its orders.

Everything else that runs is a thread which posts.  The loop is the only reader of the clock, the
only owner of the state, and never waits for anything but the next event or the next instant that
the state names; it wakes every few seconds anyway, because a suspended machine stops the clock that
waits are measured by.
"""

import queue
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervisor import process, workers
from supervisor.admin import Admin
from supervisor.discovery import Source
from supervisor.events import ChildExited, ConnectionsCounted, Event, SignalArrived, TimePassed
from supervisor.files import Clerk
from supervisor.files.configs import Configs
from supervisor.logs import Log
from supervisor.looker import Looker
from supervisor.nginx import Nginx
from supervisor.orders import (
    AskJobStop,
    CountConnections,
    CountWorkers,
    Discard,
    EndWorkers,
    Exit,
    Keep,
    Kill,
    Look,
    Note,
    Order,
    QuitOrphans,
    Remember,
    Reply,
    Requery,
    Restore,
    SaveState,
    SpawnCheck,
    SpawnMaster,
    Stage,
    Swap,
    Watch,
)
from supervisor.policy import State, decide
from supervisor.probes import Probing
from supervisor.stopper import Stopper

if TYPE_CHECKING:
    from supervisor.access import AccessLog

_LONGEST_NAP = 5.0


def boot_clock() -> float:
    """
    Read the clock that counts while the machine is suspended, in seconds.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


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


@dataclass(frozen=True, slots=True)
class Hands:
    """
    All that acts on the world for the loop.
    """

    nginx: Nginx
    clerk: Clerk
    configs: Configs
    looker: Looker
    admin: Admin
    log: Log
    sources: tuple[Source, ...]
    probing: Probing
    stopper: Stopper
    port: int
    worker_count: int
    access: "AccessLog | None" = None


class Loop:
    """
    The single consumer.
    """

    def __init__(self, hands: Hands, inbox: Inbox, clock: Callable[[], float] = boot_clock) -> None:
        self._hands = hands
        self._inbox = inbox
        self._clock = clock

    def run(self, state: State, orders: list[Order]) -> Exit:
        """
        Perform the first orders, then whatever events lead to, until one of them is to leave.
        """
        while True:
            # The state is frozen: readers look at it as it is, and never wait for the loop.
            self._hands.admin.show(state, self._clock())
            for order in orders:
                if isinstance(order, Exit):
                    return order
                self._perform(order)
            nap = min(_LONGEST_NAP, state.wake_at - self._clock())
            event = self._inbox.next(nap)
            if isinstance(event, ChildExited):
                event = self._hands.nginx.witness(event)
            state, orders = decide(state, event, self._clock())

    def _perform(self, order: Order) -> None:
        hands = self._hands
        match order:
            case Note(event, level, fields):
                hands.log.say(event, level, **fields)
            case Stage() | Swap() | Restore() | Discard() | Keep() | Remember() | SaveState():
                hands.clerk.take(order)
            case SpawnMaster():
                hands.nginx.spawn_master(self._inbox.post)
            case SpawnCheck(attempt):
                hands.nginx.spawn_check(hands.configs.path(attempt), self._inbox.post)
            case Kill(pid, signum, group):
                process.send(pid, signum, group=group)
            case QuitOrphans(master):
                self._inbox.post(hands.nginx.quit_orphans(master))
            case Look(every):
                hands.looker.pace(every)
            case CountConnections():
                self._inbox.post(ConnectionsCounted(workers.count_connections(hands.port)))
            case CountWorkers(master):
                self._inbox.post(workers.count(master, hands.worker_count))
            case EndWorkers(pids, signum):
                if signum != signal.SIGKILL:  # who has to be told twice was counted the first time
                    self._inbox.post(workers.ended(pids, hands.port))
                for pid in pids:
                    process.send(pid, signum)
            case Requery():
                for source in hands.sources:
                    source.requery()
            case AskJobStop():
                hands.stopper.ask()
            case Reply():
                hands.admin.reply(order)
            case Watch():
                hands.probing.watch(order)
            case Exit():
                raise AssertionError("internal error: leaving is for the loop itself")
