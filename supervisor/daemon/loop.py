"""
The loop: takes events, asks the policy, performs its orders.

Everything else that runs is a thread which posts.  The loop is the only reader of the clock, the
only owner of the state, and never waits for anything but the next event or the next instant that
the state names; it wakes every few seconds anyway, because a suspended machine stops the clock that
waits are measured by.
"""

import signal
from collections.abc import Callable

from supervisor.core.commands import (
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
from supervisor.core.events import ChildExited, ConnectionsCounted
from supervisor.core.policy.decide import decide
from supervisor.core.state import State
from supervisor.daemon.inbox import Inbox
from supervisor.daemon.services import Services
from supervisor.nginx import workers
from supervisor.system import process
from supervisor.system.clock import boot_clock

_LONGEST_NAP = 5.0


class Loop:
    """
    The single consumer.
    """

    def __init__(
        self, services: Services, inbox: Inbox, clock: Callable[[], float] = boot_clock
    ) -> None:
        self._services = services
        self._inbox = inbox
        self._clock = clock

    def run(self, state: State, orders: list[Order]) -> Exit:
        """
        Perform the first orders, then whatever events lead to, until one of them is to leave.
        """
        while True:
            # The state is frozen: readers look at it as it is, and never wait for the loop.
            self._services.admin.show(state, self._clock())
            for order in orders:
                if isinstance(order, Exit):
                    return order
                self._perform(order)
            nap = min(_LONGEST_NAP, state.wake_at - self._clock())
            event = self._inbox.next(nap)
            if isinstance(event, ChildExited):
                event = self._services.nginx.witness(event)
            state, orders = decide(state, event, self._clock())

    def _perform(self, order: Order) -> None:
        services = self._services
        match order:
            case Note(event, level, fields):
                services.log.say(event, level, **fields)
            case Stage() | Swap() | Restore() | Discard() | Keep() | Remember() | SaveState():
                services.writer.take(order)
            case SpawnMaster():
                services.nginx.spawn_master(self._inbox.post)
            case SpawnCheck(attempt):
                services.nginx.spawn_check(services.configs.path(attempt), self._inbox.post)
            case Kill(pid, signum, group):
                process.send(pid, signum, group=group)
            case QuitOrphans(master):
                self._inbox.post(services.nginx.quit_orphans(master))
            case Look(every):
                services.poller.set_interval(every)
            case CountConnections():
                self._inbox.post(ConnectionsCounted(workers.count_connections(services.port)))
            case CountWorkers(master):
                self._inbox.post(workers.count(master, services.worker_count))
            case EndWorkers(pids, signum):
                if signum != signal.SIGKILL:  # who has to be told twice was counted the first time
                    self._inbox.post(workers.ended(pids, services.port))
                for pid in pids:
                    process.send(pid, signum)
            case Requery():
                for source in services.sources:
                    source.requery()
            case AskJobStop():
                services.stopper.ask()
            case Reply():
                services.admin.reply(order)
            case Watch():
                services.probing.watch(order)
            case Exit():
                raise AssertionError("internal error: leaving is for the loop itself")
