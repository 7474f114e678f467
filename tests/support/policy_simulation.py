"""
A simulation of the policy against a fake system, without a clock, a process or I/O.

By default every command succeeds: files are staged, `nginx -t` passes, a master answers 20 ms after
its start and a new generation 60 ms after SIGHUP.  A test makes one of these fail and checks the
commands that follow.  Simulated time jumps to the next instant at which something is due.
"""

import heapq
import itertools
import math
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar, assert_never

from supervisor.core import lifecycle
from supervisor.core.commands import (
    Command,
    CountConnections,
    CountWorkers,
    Exit,
    Kill,
    MarkLastGood,
    Note,
    QuitOrphans,
    RequestJobStop,
    Restore,
    SaveState,
    SetPollInterval,
    SetProbeTargets,
    SignalWorkers,
    SpawnCheck,
    SpawnMaster,
    Stage,
    Swap,
)
from supervisor.core.config import load
from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.events import (
    ChildExited,
    ConnectionsCounted,
    Event,
    GenerationReported,
    HealthChanged,
    JobStopAnswered,
    OrphansFound,
    PortBusy,
    SignalArrived,
    SnapshotArrived,
    Spawned,
    Staged,
    StateSaved,
    Swapped,
    TimePassed,
    WorkersCounted,
    WorkersSignalled,
)
from supervisor.core.model import ChildKind, Endpoint, HealthState, Plan
from supervisor.core.policy import decide
from supervisor.core.state import State

T = TypeVar("T", bound=Command)

WALL = 1_800_000_000.0
SOURCE = "nomad:web"


def endpoints(*ports: int) -> tuple[Endpoint, ...]:
    """Return endpoints on one address, sorted."""
    return tuple(sorted(Endpoint("10.0.0.1", port) for port in ports))


def snapshot(*ports: int, confirmed: bool = True) -> SnapshotArrived:
    """Return a discovery result that lists these ports."""
    return SnapshotArrived(SOURCE, endpoints(*ports), confirmed)


@dataclass
class FakeSystem:
    """How nginx, the disk, the probes and Nomad respond.  Times are in seconds."""

    boot_time: float = 0.02
    port_busy: str = ""
    reload_time: float = 0.06
    check_code: int = 0
    check_time: float = 0.007
    check_output: str = ""
    nginx_responds: bool = True
    public_port_answers: bool | None = False
    files_intact: bool = True
    file_warnings: tuple[str, ...] = ()
    operator_files: str = "whole"
    reuseport: bool = False
    rejected_files: frozenset[str] = frozenset({"broken"})
    ignored_commands: frozenset[type[Command]] = frozenset()
    open_connections: int = 0
    save_error: str = ""
    orphans: frozenset[int] = frozenset()
    workers: frozenset[int] = frozenset()
    free_processes: float = math.inf
    probe_time: float | None = 0.026
    endpoints_ready: bool = True
    job_stop_answer: JobStopAnswered | None = None
    stop_signal_after: float | None = 0.04
    effective_signals: frozenset[int] = frozenset({signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL})

    def answer_job_stop(self) -> Iterator[tuple[float, Event]]:
        """Answer a stop request as Nomad does; an accepted one is followed by its signal."""
        if self.job_stop_answer is not None:
            yield 0.005, self.job_stop_answer
            if not self.job_stop_answer.error and self.stop_signal_after is not None:
                yield self.stop_signal_after, SignalArrived(signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class _ConfigLoaded:
    """Nginx has loaded the live files, which is no event of the policy."""

    generation: str


_Scheduled = Event | _ConfigLoaded


@dataclass
class Simulation:
    """One run of the policy: send events, advance time, inspect the commands."""

    variables: dict[str, str] = field(default_factory=dict)
    record: DeadlineRecord | None = None
    system: FakeSystem = field(default_factory=FakeSystem)
    now: float = 1000.0
    wall: float = WALL

    def __post_init__(self) -> None:
        self.issued: list[tuple[float, Command]] = []
        self._scheduled: list[tuple[float, int, _Scheduled]] = []
        self._sequence = itertools.count()
        self._pids = itertools.count(100)
        self.generation: str | None = None
        self.live_files = ""
        self.staged: dict[int, str] = {}
        self._operator_files: dict[int, str] = {0: ""}
        self._last_good = 0
        self._poll_interval = 0.0
        self._probe_targets: frozenset[Endpoint] = frozenset()
        environ = {"SERVICE_NAME": "web", "HEALTH_CHECK": "off", **self.variables}
        self.settings = load.read(environ, lambda _: False)
        resolved = lifecycle.resolve(self.settings, self.record, self.wall)
        names = [f"nomad:{name}" for name in self.settings.service_name]
        self.state: State
        self.state, commands = decide.first_state(self.settings, resolved, names, self.now)
        self.execute(commands)

    # ---------------------------------------------------------------- driving the simulation

    def send(self, event: Event) -> list[Command]:
        """Send an event now, and return the commands that follow at once."""
        self.state, commands = decide.decide(self.state, event, self.now)
        self.execute(commands)
        return commands

    def schedule(self, delay: float, event: _Scheduled) -> None:
        """Schedule an event in `delay` seconds."""
        heapq.heappush(self._scheduled, (self.now + delay, next(self._sequence), event))

    def run(self, seconds: float) -> "Simulation":
        """Advance time, with every event due in it."""
        until = self.now + seconds
        for _ in range(100_000):
            upcoming = self._scheduled[0][0] if self._scheduled else float("inf")
            next_poll = self.now + self._poll_interval if self._poll_interval else float("inf")
            instant = min(upcoming, self.state.wake_at, next_poll)
            if instant > until or self.exit is not None:
                self.now = max(self.now, until)
                return self
            self.now = max(self.now, instant)
            if upcoming <= self.now:
                self._deliver(heapq.heappop(self._scheduled)[2])
            elif next_poll <= self.now:
                self.send(
                    GenerationReported(
                        self.generation if self.system.nginx_responds else None,
                        self.system.public_port_answers,
                    )
                )
            else:
                self.send(TimePassed())
        message = (
            f"the policy does not settle: it is due at {self.state.wake_at}, now is {self.now}"
        )
        raise AssertionError(message)

    def serve(self, *ports: int) -> "Simulation":
        """Start with these endpoints, and advance until they are served."""
        self.send(snapshot(*ports))
        return self.run(1.0)

    # ---------------------------------------------------------------- inspecting its results

    def commands(self, kind: type[T]) -> list[T]:
        """Return every issued command of a type."""
        return [command for _, command in self.issued if isinstance(command, kind)]

    def times(self, kind: type[Command]) -> list[float]:
        """Return when commands of a type were issued."""
        return [at for at, command in self.issued if isinstance(command, kind)]

    def signals(self, signum: int) -> list[float]:
        """Return when a signal was sent."""
        return [
            at
            for at, command in self.issued
            if isinstance(command, Kill) and command.signum == signum
        ]

    def notes(self, event: str) -> list[Note]:
        """Return the log lines with this event id."""
        return [command for command in self.commands(Note) if command.event == event]

    @property
    def exit(self) -> Exit | None:
        """The Exit command, once issued."""
        exits = self.commands(Exit)
        return exits[0] if exits else None

    @property
    def served(self) -> Plan:
        """The plan that is live."""
        assert self.state.rollout.live is not None
        return self.state.rollout.live.plan

    # ---------------------------------------------------------------- responding to commands

    def _deliver(self, event: _Scheduled) -> None:
        if isinstance(event, _ConfigLoaded):
            self.generation = event.generation
            return
        if isinstance(event, ChildExited) and event.kind is ChildKind.MASTER:
            self.generation = None
        self.send(event)

    def execute(self, commands: list[Command]) -> None:
        """Record commands, and schedule the events that they lead to."""
        for command in commands:
            self.issued.append((self.now, command))
            if type(command) in self.system.ignored_commands:
                continue
            for delay, event in self._respond(command):
                self.schedule(delay, event)

    def _count(self, command: CountConnections | CountWorkers | SignalWorkers) -> Event:
        match command:
            case CountConnections():
                return ConnectionsCounted(self.system.open_connections)
            case CountWorkers():
                return WorkersCounted(self.system.workers, self.system.free_processes, 3)
            case SignalWorkers(pids):
                self.system.workers -= pids
                return WorkersSignalled(len(pids), 0)
            case _:
                assert_never(command)

    def _respond(self, command: Command) -> Iterator[tuple[float, _Scheduled]]:
        system = self.system
        match command:
            case Stage(attempt, plan, rotation, reread_operator_files):
                self._operator_files[attempt] = (
                    system.operator_files
                    if reread_operator_files
                    else self._operator_files[self._last_good]
                )
                digest = f"{plan.fingerprint}/{rotation}/{self._operator_files[attempt]}"
                staged = self.staged[attempt] = f"{digest}-{attempt}"
                yield (
                    0.001,
                    Staged(
                        attempt,
                        digest,
                        staged,
                        system.files_intact,
                        system.reuseport,
                        system.file_warnings,
                    ),
                )
            case MarkLastGood(live):
                self._last_good = live.attempt
            case SpawnCheck(attempt):
                pid = next(self._pids)
                rejected = self._operator_files.get(attempt) in system.rejected_files
                yield 0.0, Spawned(ChildKind.CHECK, pid)
                yield (
                    system.check_time,
                    ChildExited(
                        pid,
                        ChildKind.CHECK,
                        system.check_code or int(rejected),
                        system.check_output,
                    ),
                )
            case Swap(attempt):
                self.live_files = self.staged[attempt]
                yield 0.0, Swapped(attempt)
            case Restore(live):
                self.live_files = live.generation
                yield 0.0, Swapped(live.attempt)
            case SpawnMaster(even_if_busy=False) if system.port_busy:
                yield 0.0, PortBusy(system.port_busy)
            case SpawnMaster():
                self.generation = None
                pid = next(self._pids)
                yield 0.0, Spawned(ChildKind.MASTER, pid)
                yield system.boot_time, _ConfigLoaded(self.live_files)
            case Kill(pid, signum) if signum == signal.SIGHUP:
                yield system.reload_time, _ConfigLoaded(self.live_files)
            case Kill(pid, signum) if (
                pid == self.state.master.pid and signum in system.effective_signals
            ):
                yield (
                    0.005,
                    ChildExited(pid, ChildKind.MASTER, 0 if signum != signal.SIGKILL else 137),
                )
            case Kill(pid, signal.SIGKILL) if pid in self.state.master.orphans:
                yield 0.005, ChildExited(pid, ChildKind.OTHER, 137)
            case QuitOrphans():
                yield 0.0, OrphansFound(system.orphans)
            case CountConnections() | CountWorkers() | SignalWorkers():
                yield 0.0, self._count(command)
            case RequestJobStop():
                yield from system.answer_job_stop()
            case SaveState(record):
                yield 0.0, StateSaved(system.save_error, record)
            case SetPollInterval(every):
                self._poll_interval = every
            case SetProbeTargets(targets):
                added = targets - self._probe_targets
                self._probe_targets = targets
                if added and system.probe_time is not None:
                    health = HealthState.READY if system.endpoints_ready else HealthState.STARTING
                    yield system.probe_time, HealthChanged(dict.fromkeys(added, health))
            case _:
                return
