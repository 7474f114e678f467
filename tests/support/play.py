"""
Histories: the policy played against a world that answers its orders, without a clock or a process.

The world is obedient by default: files are staged, `nginx -t` is content, a master answers 20 ms
after it was started and a new generation 60 ms after SIGHUP.  A test spoils one of these and says
what must follow.  Time is a number that jumps to whatever is due next.
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


def arrives(*ports: int, confirmed: bool = True) -> SnapshotArrived:
    """Return the answer of a registry that lists these ports."""
    return SnapshotArrived(SOURCE, endpoints(*ports), confirmed)


@dataclass
class World:
    """How the world answers.  Seconds, codes, and switches to spoil it."""

    boot: float = 0.02
    reload: float = 0.06
    check: int = 0
    check_takes: float = 0.007
    check_says: str = ""
    answers: bool = True
    intact: bool = True
    files: str = "whole"
    refused_files: frozenset[str] = frozenset({"broken"})
    silent_orders: frozenset[type[Command]] = frozenset()
    open_connections: int = 0
    disk_trouble: str = ""
    orphans: frozenset[int] = frozenset()
    workers: frozenset[int] = frozenset()
    room: float = math.inf
    probe: float | None = 0.026
    ready: bool = True
    job_stop: JobStopAnswered | None = None
    stops_after: float | None = 0.04
    obeys: frozenset[int] = frozenset({signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL})

    def asked_to_stop(self) -> Iterator[tuple[float, Event]]:
        """Answer as Nomad does; after a yes its signal comes."""
        if self.job_stop is not None:
            yield 0.005, self.job_stop
            if not self.job_stop.error and self.stops_after is not None:
                yield self.stops_after, SignalArrived(signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class _Loads:
    """What the policy does not see: nginx reads the live files."""

    generation: str


Coming = Event | _Loads


@dataclass
class Play:
    """One run of the policy: send events, let time pass, ask what was ordered."""

    configured: dict[str, str] = field(default_factory=dict)
    record: DeadlineRecord | None = None
    world: World = field(default_factory=World)
    now: float = 1000.0
    wall: float = WALL

    def __post_init__(self) -> None:
        self.issued: list[tuple[float, Command]] = []
        self._coming: list[tuple[float, int, Coming]] = []
        self._sequence = itertools.count()
        self._pids = itertools.count(100)
        self._generation: str | None = None
        self._disk = ""
        self._staged: dict[int, str] = {}
        self._files: dict[int, str] = {0: ""}
        self._good = 0
        self._pace = 0.0
        self._watched: frozenset[Endpoint] = frozenset()
        environ = {"SERVICE_NAME": "web", "HEALTH_CHECK": "off", **self.configured}
        self.settings = load.read(environ, lambda _: False)
        resolved = lifecycle.resolve(self.settings, self.record, self.wall)
        names = [f"nomad:{name}" for name in self.settings.service_name]
        self.state: State
        self.state, commands = decide.first_state(self.settings, resolved, names, self.now)
        self._take(commands)

    # ---------------------------------------------------------------- what a test does

    def send(self, event: Event) -> list[Command]:
        """Let an event happen now, and return what it led to at once."""
        self.state, commands = decide.decide(self.state, event, self.now)
        self._take(commands)
        return commands

    def later(self, delay: float, event: Coming) -> None:
        """Let an event happen so many seconds from now."""
        heapq.heappush(self._coming, (self.now + delay, next(self._sequence), event))

    def run(self, seconds: float) -> "Play":
        """Let time pass, with all that comes in it."""
        until = self.now + seconds
        for _ in range(100_000):
            upcoming = self._coming[0][0] if self._coming else float("inf")
            looking = self.now + self._pace if self._pace else float("inf")
            instant = min(upcoming, self.state.wake_at, looking)
            if instant > until or self.exit is not None:
                self.now = max(self.now, until)
                return self
            self.now = max(self.now, instant)
            if upcoming <= self.now:
                self._happen(heapq.heappop(self._coming)[2])
            elif looking <= self.now:
                self.send(GenerationReported(self._generation if self.world.answers else None))
            else:
                self.send(TimePassed())
        message = (
            f"the policy never rests: it wants to wake at {self.state.wake_at}, it is {self.now}"
        )
        raise AssertionError(message)

    def serve(self, *ports: int) -> "Play":
        """Bring it up with these endpoints."""
        self.send(arrives(*ports))
        return self.run(1.0)

    # ---------------------------------------------------------------- what a test asks

    def all(self, kind: type[T]) -> list[T]:
        """Return every order of a kind."""
        return [command for _, command in self.issued if isinstance(command, kind)]

    def times(self, kind: type[Command]) -> list[float]:
        """Return when orders of a kind were given."""
        return [at for at, command in self.issued if isinstance(command, kind)]

    def signals(self, signum: int) -> list[float]:
        """Return when a signal was sent."""
        return [
            at
            for at, command in self.issued
            if isinstance(command, Kill) and command.signum == signum
        ]

    def notes(self, event: str) -> list[Note]:
        """Return the log lines of one event id."""
        return [command for command in self.all(Note) if command.event == event]

    @property
    def exit(self) -> Exit | None:
        """The order to leave, once it was given."""
        exits = self.all(Exit)
        return exits[0] if exits else None

    @property
    def served(self) -> Plan:
        """The plan that is live."""
        assert self.state.rollout.live is not None
        return self.state.rollout.live.plan

    # ---------------------------------------------------------------- how the world answers

    def _happen(self, event: Coming) -> None:
        if isinstance(event, _Loads):
            self._generation = event.generation
            return
        if isinstance(event, ChildExited) and event.kind is ChildKind.MASTER:
            self._generation = None
        self.send(event)

    def _take(self, commands: list[Command]) -> None:
        for command in commands:
            self.issued.append((self.now, command))
            if type(command) in self.world.silent_orders:
                continue
            for delay, event in self._answer(command):
                self.later(delay, event)

    def _count(self, command: CountConnections | CountWorkers | SignalWorkers) -> Event:
        match command:
            case CountConnections():
                return ConnectionsCounted(self.world.open_connections)
            case CountWorkers():
                return WorkersCounted(self.world.workers, self.world.room, 3)
            case SignalWorkers(pids):
                self.world.workers -= pids
                return WorkersSignalled(len(pids), 0)
            case _:
                assert_never(command)

    def _answer(self, command: Command) -> Iterator[tuple[float, Coming]]:
        world = self.world
        match command:
            case Stage(attempt, plan, rotation, reread_operator_files):
                self._files[attempt] = (
                    world.files if reread_operator_files else self._files[self._good]
                )
                digest = f"{plan.fingerprint}/{rotation}/{self._files[attempt]}"
                self._staged[attempt] = f"{digest}-{attempt}"
                yield 0.001, Staged(attempt, digest, self._staged[attempt], world.intact)
            case MarkLastGood(live):
                self._good = live.attempt
            case SpawnCheck(attempt):
                pid = next(self._pids)
                refused = self._files.get(attempt) in world.refused_files
                yield 0.0, Spawned(ChildKind.CHECK, pid)
                yield (
                    world.check_takes,
                    ChildExited(
                        pid, ChildKind.CHECK, world.check or int(refused), world.check_says
                    ),
                )
            case Swap(attempt):
                self._disk = self._staged[attempt]
                yield 0.0, Swapped(attempt)
            case Restore(live):
                self._disk = live.generation
                yield 0.0, Swapped(live.attempt)
            case SpawnMaster():
                self._generation = None
                pid = next(self._pids)
                yield 0.0, Spawned(ChildKind.MASTER, pid)
                yield world.boot, _Loads(self._disk)
            case Kill(pid, signum) if signum == signal.SIGHUP:
                yield world.reload, _Loads(self._disk)
            case Kill(pid, signum) if pid == self.state.master.pid and signum in world.obeys:
                yield (
                    0.005,
                    ChildExited(pid, ChildKind.MASTER, 0 if signum != signal.SIGKILL else 137),
                )
            case Kill(pid, signal.SIGKILL) if pid in self.state.master.orphans:
                yield 0.005, ChildExited(pid, ChildKind.OTHER, 137)
            case QuitOrphans():
                yield 0.0, OrphansFound(world.orphans)
            case CountConnections() | CountWorkers() | SignalWorkers():
                yield 0.0, self._count(command)
            case RequestJobStop():
                yield from world.asked_to_stop()
            case SaveState(record):
                yield 0.0, StateSaved(world.disk_trouble, record)
            case SetPollInterval(every):
                self._pace = every
            case SetProbeTargets(watched):
                newcomers = watched - self._watched
                self._watched = watched
                if newcomers and world.probe is not None:
                    verdict = HealthState.READY if world.ready else HealthState.STARTING
                    yield world.probe, HealthChanged(dict.fromkeys(newcomers, verdict))
            case _:
                return
