"""
Commands: frozen values that describe what to do.

The policy returns them; the loop executes them and makes no decisions.  The docstring of each names
the event that answers it.
"""

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any, Literal

from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.model import CachedEndpoints, Endpoint, LiveConfig, Plan
from supervisor.core.values import value_class


@value_class(frozen=True, slots=True)
class SpawnMaster:
    """
    Start nginx on the live files.  Answered by Spawned, SpawnFailed or PortBusy.

    With `even_if_busy` nginx itself tries to open a port that is in use, for 2.5 s.
    """

    even_if_busy: bool = False


@value_class(frozen=True, slots=True)
class Stage:
    """
    Render a plan and write it beside the live files.  Answered by Staged or StageFailed.

    With `reread_operator_files` the operator's files are read again; otherwise the copies in the
    last good files are used.
    """

    attempt: int
    plan: Plan
    rotation: int
    reread_operator_files: bool


@value_class(frozen=True, slots=True)
class SpawnCheck:
    """Run `nginx -t` on the staged bytes.  Answered by Spawned, then ChildExited."""

    attempt: int


@value_class(frozen=True, slots=True)
class Swap:
    """Atomically replace the live files by the staged ones.  Answered by Swapped or SwapFailed."""

    attempt: int


@value_class(frozen=True, slots=True)
class Restore:
    """Replace the live files by the last good ones.  Answered by Swapped or SwapFailed."""

    live: LiveConfig


@value_class(frozen=True, slots=True)
class Discard:
    """Remove the staged files of an attempt that will not be used."""

    attempt: int


@value_class(frozen=True, slots=True)
class MarkLastGood:
    """Keep the files of a configuration that responded as the last good ones."""

    live: LiveConfig


@value_class(frozen=True, slots=True)
class CheckFiles:
    """Restore the lock and the sockets in RUNTIME_DIR if removed.  Answered by FilesChecked."""


@value_class(frozen=True, slots=True)
class Kill:
    """Send a signal to a child process, or to its whole process group."""

    pid: int
    signum: int
    group: bool = False


@value_class(frozen=True, slots=True)
class RememberWorkers:
    """Remember the workers that a master has now, before a reload replaces them."""

    master: int


@value_class(frozen=True, slots=True)
class QuitOldWorkers:
    """Send SIGQUIT to the remembered workers: they finish their requests and accept no more."""


@value_class(frozen=True, slots=True)
class QuitOrphans:
    """Send QUIT to the workers of a dead master.  Answered by OrphansFound."""

    master: int


@value_class(frozen=True, slots=True)
class SetPollInterval:
    """Query nginx for its generation every `every` seconds; 0 stops the queries."""

    every: float


@value_class(frozen=True, slots=True)
class CountConnections:
    """Count the clients still connected.  Answered by ConnectionsCounted."""


@value_class(frozen=True, slots=True)
class CountLostRequests:
    """
    Count the requests that end with their replica from now on.  Reported with each ChildExited.

    `endpoints` is the number of endpoints that nginx may try.
    """

    endpoints: int


@value_class(frozen=True, slots=True)
class CountWorkers:
    """Count the workers of a master and the free process slots.  Answered by WorkersCounted."""

    master: int


@value_class(frozen=True, slots=True)
class SignalWorkers:
    """Signal workers and count their open connections.  Answered by WorkersSignalled."""

    pids: frozenset[int]
    signum: int


@value_class(frozen=True, slots=True)
class Requery:
    """Query every source again now."""


@value_class(frozen=True, slots=True)
class FindServices:
    """List the services that may be meant instead of this one.  Answered by ServicesListed."""

    service: str


@value_class(frozen=True, slots=True)
class SetProbeTargets:
    """
    Probe exactly these endpoints from now on.  Answered by HealthChanged.

    Endpoints in `leaving` serve only while they respond, so they are probed more often.
    `allocations` maps endpoints to the allocations whose checks are queried from Nomad.  Endpoints
    in `was_ready` were ready before this process started.
    """

    endpoints: frozenset[Endpoint]
    leaving: frozenset[Endpoint] = frozenset()
    allocations: Mapping[Endpoint, str] = field(default_factory=dict)
    was_ready: frozenset[Endpoint] = frozenset()


@value_class(frozen=True, slots=True)
class ProbeNow:
    """Probe these endpoints at once: nginx cannot reach them.  Answered by HealthChanged."""

    endpoints: frozenset[Endpoint]


@value_class(frozen=True, slots=True)
class ReportProbes:
    """Report the last outcome of these endpoints' probes.  Answered by ProbesReported."""

    endpoints: frozenset[Endpoint]


@value_class(frozen=True, slots=True)
class SaveCache:
    """Store the endpoints of each source, for a restart while the registry is unavailable."""

    caches: Mapping[str, CachedEndpoints]


@value_class(frozen=True, slots=True)
class RequestJobStop:
    """Request from Nomad that it stops the whole job.  Answered by JobStopAnswered."""


@value_class(frozen=True, slots=True)
class WriteJobVariable:
    """
    Write the job's deadline to its variable, and read it back.  Answered by JobVariableWritten.

    `deadline` and `planned`, the one that it replaces, are epoch seconds.  `expected` is the index
    of the variable that is replaced, 0 if there is none, None if it is not known.
    """

    ticket: int
    deadline: float
    planned: float | None
    moved_by: str
    expected: int | None = None


@value_class(frozen=True, slots=True)
class SaveState:
    """Write the record of the deadline to disk.  Answered by StateSaved."""

    record: DeadlineRecord


@value_class(frozen=True, slots=True)
class Reply:
    """
    Answer an admin request: `text` is the result, or the reason of a refusal.
    """

    ticket: int
    accepted: bool
    text: str


@value_class(frozen=True, slots=True)
class Note:
    """Write one line to the log: a dotted event id and its fields."""

    event: str
    level: Literal["debug", "info", "warning", "error"] = "info"
    fields: MappingProxyType[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@value_class(frozen=True, slots=True)
class Exit:
    """Log the reason and exit with a code."""

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
    | CheckFiles
    | Kill
    | RememberWorkers
    | QuitOldWorkers
    | QuitOrphans
    | SetPollInterval
    | CountConnections
    | CountLostRequests
    | CountWorkers
    | SignalWorkers
    | Requery
    | FindServices
    | SetProbeTargets
    | ProbeNow
    | ReportProbes
    | SaveCache
    | RequestJobStop
    | WriteJobVariable
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
