"""
Orders: what to do about it, in frozen words.

The policy gives them, the loop performs them and never decides.  The comment on each says by which
event it is answered.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.model import CachedEndpoints, Endpoint, LiveConfig, Plan


@dataclass(frozen=True, slots=True)
class SpawnMaster:
    """Start nginx on the live files.  Answered by Spawned or SpawnFailed."""


@dataclass(frozen=True, slots=True)
class Stage:
    """
    Render a plan and write it beside the live files.  Answered by Staged or StageFailed.

    `reread_operator_files` reads the operator's files anew; otherwise those of the last good files are taken.
    """

    attempt: int
    plan: Plan
    rotation: int
    reread_operator_files: bool


@dataclass(frozen=True, slots=True)
class SpawnCheck:
    """Run `nginx -t` on the staged bytes.  Answered by Spawned, then ChildExited."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Swap:
    """Make the staged files the live files, at one instant.  Answered by Swapped."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Restore:
    """Make the last good files the live files again, whatever happened to them."""

    live: LiveConfig


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove what was staged for an attempt that is not going to be used."""

    attempt: int


@dataclass(frozen=True, slots=True)
class MarkLastGood:
    """Remember the files of a configuration that answered as the last good ones."""

    live: LiveConfig


@dataclass(frozen=True, slots=True)
class Kill:
    """Send a signal to a process of ours, or to its whole process group."""

    pid: int
    signum: int
    group: bool = False


@dataclass(frozen=True, slots=True)
class QuitOrphans:
    """Tell the workers of a dead master to finish and go.  Answered by OrphansFound."""

    master: int


@dataclass(frozen=True, slots=True)
class SetPollInterval:
    """Ask nginx for its generation every so many seconds from now on; 0 stops asking."""

    every: float


@dataclass(frozen=True, slots=True)
class CountConnections:
    """Count the clients still connected.  Answered by ConnectionsCounted."""


@dataclass(frozen=True, slots=True)
class CountWorkers:
    """Tell which workers a master has, and the room for more.  Answered by WorkersCounted."""

    master: int


@dataclass(frozen=True, slots=True)
class SignalWorkers:
    """Send a signal to workers, and count whom that cuts off.  Answered by WorkersEnded."""

    pids: frozenset[int]
    signum: int


@dataclass(frozen=True, slots=True)
class Requery:
    """Ask every source again now."""


@dataclass(frozen=True, slots=True)
class SetProbeTargets:
    """
    Probe these endpoints from now on, and no others.  Answered by HealthSeen.

    Those that are leaving serve only as long as they answer, so they are asked more often;
    `allocations` tells whose checks Nomad is to be asked for; those that are proven were ready
    before this process began.
    """

    endpoints: frozenset[Endpoint]
    leaving: frozenset[Endpoint] = frozenset()
    allocations: Mapping[Endpoint, str] = field(default_factory=dict)
    was_ready: frozenset[Endpoint] = frozenset()


@dataclass(frozen=True, slots=True)
class SaveCache:
    """Keep what the sources know, by name, for a restart while the registry is away."""

    caches: Mapping[str, CachedEndpoints]


@dataclass(frozen=True, slots=True)
class RequestJobStop:
    """Ask Nomad to stop the whole job.  Answered by JobStopAnswered."""


@dataclass(frozen=True, slots=True)
class SaveState:
    """Put the record of the deadline on disk.  Answered by StateSaved."""

    record: DeadlineRecord


@dataclass(frozen=True, slots=True)
class Reply:
    """
    Tell who asked for something what became of it.
    """

    ticket: int
    accepted: bool
    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """Write one line to the log: a dotted event id and its fields."""

    event: str
    level: Literal["debug", "info", "warning", "error"] = "info"
    fields: MappingProxyType[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Exit:
    """End the program with a code, having said why."""

    code: int
    reason: str
    fields: MappingProxyType[str, Any] = field(default_factory=lambda: MappingProxyType({}))


Command = (
    SpawnMaster
    | Stage
    | SpawnCheck
    | Swap
    | Restore
    | Discard
    | MarkLastGood
    | Kill
    | QuitOrphans
    | SetPollInterval
    | CountConnections
    | CountWorkers
    | SignalWorkers
    | Requery
    | SetProbeTargets
    | SaveCache
    | RequestJobStop
    | SaveState
    | Reply
    | Note
    | Exit
)


def note(
    event: str, level: Literal["debug", "info", "warning", "error"] = "info", **fields: Any
) -> Note:
    """
    Build a Note from keywords.
    """
    return Note(event, level, MappingProxyType(fields))


def exit_command(code: int, reason: str, **fields: Any) -> Exit:
    """
    Build an Exit from keywords.
    """
    return Exit(code, reason, MappingProxyType(fields))
