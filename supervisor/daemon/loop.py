"""
The event loop: takes events, passes them to `decide`, performs the commands that it returns.

All other work runs in threads that post events.  Only the loop reads the clock and owns the state,
and it waits only for the next event or for the state's `wake_at`.  It wakes every few seconds
anyway, because waits are measured by a clock that stops while the machine is suspended.
"""

import signal
from collections.abc import Callable

from supervisor.core.commands import (
    CheckFiles,
    Command,
    CountConnections,
    CountLostRequests,
    CountWorkers,
    Discard,
    Exit,
    FindServices,
    Kill,
    MarkLastGood,
    Note,
    ProbeNow,
    QuitOldWorkers,
    QuitOrphans,
    RememberWorkers,
    Reply,
    ReportProbes,
    Requery,
    RequestJobStop,
    Restore,
    SaveCache,
    SaveState,
    SetPollInterval,
    SetProbeTargets,
    SignalWorkers,
    SpawnCheck,
    SpawnMaster,
    Stage,
    Swap,
    WriteJobVariable,
)
from supervisor.core.events import ChildExited, ConnectionsCounted, ProbesReported
from supervisor.core.policy.decide import decide
from supervisor.core.state import State
from supervisor.daemon.inbox import Inbox
from supervisor.daemon.services import Services
from supervisor.nginx import workers
from supervisor.system import process
from supervisor.system.clock import boot_clock

#: Upper limit of one wait, in seconds.
_MAX_SLEEP = 5.0


class Loop:
    """
    The only consumer of the inbox.
    """

    def __init__(
        self, services: Services, inbox: Inbox, clock: Callable[[], float] = boot_clock
    ) -> None:
        self._services = services
        self._inbox = inbox
        self._clock = clock

    def run(self, state: State, commands: list[Command]) -> Exit:
        """
        Perform the first commands, then those of each event, until one of them is Exit.
        """
        while True:
            # The state is frozen, so readers use it without waiting for the loop.
            self._services.admin.publish(state, self._clock())
            for command in commands:
                if isinstance(command, Exit):
                    return command
                self._perform(command)
            self._services.writer.report_overdue()
            event = self._inbox.next(min(_MAX_SLEEP, state.wake_at - self._clock()))
            if isinstance(event, ChildExited):
                event = self._services.nginx.attach_output(event)
            state, commands = decide(state, event, self._clock())

    def _perform(self, command: Command) -> None:
        services = self._services
        match command:
            case Note(event, level, fields):
                services.log.emit(event, level, **fields)
            case (
                Stage()
                | Swap()
                | Restore()
                | Discard()
                | MarkLastGood()
                | CheckFiles()
                | SaveCache()
                | SaveState()
            ):
                services.writer.submit(command)
            case SpawnMaster(even_if_busy):
                services.nginx.spawn_master(self._inbox.post, even_if_busy=even_if_busy)
            case SpawnCheck(attempt):
                services.nginx.spawn_check(services.config_store.path(attempt), self._inbox.post)
            case Kill(pid, signum, group):
                process.send_signal(pid, signum, group=group)
            case RememberWorkers(master):
                services.nginx.old_workers.remember(master)
            case QuitOldWorkers():
                services.nginx.old_workers.quit()
            case QuitOrphans(master):
                self._inbox.post(services.nginx.quit_orphans(master))
            case SetPollInterval(every):
                services.poller.set_interval(every)
            case CountConnections():
                self._inbox.post(ConnectionsCounted(workers.count_connections(services.port)))
            case CountLostRequests(endpoints):
                services.nginx.count_lost_requests(endpoints)
            case CountWorkers(master):
                self._inbox.post(workers.count(master, services.worker_count))
            case SignalWorkers(pids, signum):
                if signum != signal.SIGKILL:  # those workers were counted at the first signal
                    self._inbox.post(workers.signalled(pids, services.port))
                for pid in pids:
                    process.send_signal(pid, signum)
            case Requery():
                for source in services.sources:
                    source.requery()
            case FindServices(service):
                services.service_finder.find(service)
            case RequestJobStop():
                services.job_stopper.request()
            case WriteJobVariable():
                services.write_job_variable(command)
            case Reply():
                services.admin.reply(command)
            case SetProbeTargets():
                services.health.watch(command)
            case ProbeNow():
                services.health.probe(command)
            case ReportProbes(endpoints):
                reports = services.health.reports(endpoints)
                outcomes = {each: report.outcome for each, report in reports.items()}
                self._inbox.post(ProbesReported(endpoints, outcomes))
            case Exit():
                raise AssertionError("internal error: run() handles Exit")
