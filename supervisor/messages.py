"""
The vocabulary: events say what happened, orders say what to do about it.

Producers post events and never act; the loop performs orders and never decides.  A behaviour
of the program is a list of the one and a list of the other, which is how it is tested.
"""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from supervisor.model import ChildKind, Endpoint, Live, Plan, Record, View

# ------------------------------------------------------------------------------------ events


@dataclass(frozen=True, slots=True)
class TimePassed:
    """A timer ran out; the state says which."""


@dataclass(frozen=True, slots=True)
class SnapshotArrived:
    """
    A source answered with every endpoint it knows.

    `certain` is false for an empty answer that no second one has confirmed yet: a restored
    registry answers empty for a moment, and so does a group that restarts its tasks.
    """

    source: str
    endpoints: tuple[Endpoint, ...]
    certain: bool = True
    refused: int = 0
    beyond: int = 0


@dataclass(frozen=True, slots=True)
class DiscoveryFailed:
    """A source did not answer, or what it said is no knowledge; it asks again by itself."""

    source: str
    reason: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class SignalArrived:
    """The supervisor itself was sent a signal."""

    signum: int


@dataclass(frozen=True, slots=True)
class Spawned:
    """A child of ours runs."""

    kind: ChildKind
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """A child of ours could not be started at all; the code is the one to exit with."""

    kind: ChildKind
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class ChildExited:
    """A child ended and was reaped; death by signal n counts as code 128 + n."""

    pid: int
    kind: ChildKind
    code: int
    said: str = ""


@dataclass(frozen=True, slots=True)
class OrphansFound:
    """Workers that outlived their master, and were told to finish their requests and go."""

    pids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Staged:
    """
    An attempt is rendered and written beside the live files, which nothing has touched.

    `intact` is false when the live files no longer hold what was put there.
    """

    attempt: int
    digest: str
    generation: str
    intact: bool


@dataclass(frozen=True, slots=True)
class StageFailed:
    """An attempt could not be rendered or written; the live files are as they were."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Swapped:
    """The files of an attempt, or of the last good one again, are the live files now."""

    attempt: int


@dataclass(frozen=True, slots=True)
class SwapFailed:
    """The live files could not be replaced; they are as they were."""

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class GenerationSeen:
    """What nginx answered on a fresh internal connection; None when it did not answer in time."""

    generation: str | None


@dataclass(frozen=True, slots=True)
class ConnectionsCounted:
    """How many clients are still connected to the public port."""

    open: int


@dataclass(frozen=True, slots=True)
class StateSaved:
    """The record of the deadline is on disk, or the reason why it is not."""

    trouble: str = ""


Event = (
    TimePassed
    | SnapshotArrived
    | DiscoveryFailed
    | SignalArrived
    | Spawned
    | SpawnFailed
    | ChildExited
    | OrphansFound
    | Staged
    | StageFailed
    | Swapped
    | SwapFailed
    | GenerationSeen
    | ConnectionsCounted
    | StateSaved
)

# ------------------------------------------------------------------------------------ orders


@dataclass(frozen=True, slots=True)
class SpawnMaster:
    """Start nginx on the live files.  Answered by Spawned or SpawnFailed."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Render a plan and write it beside the live files.  Answered by Staged or StageFailed."""

    attempt: int
    plan: Plan
    turn: int


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

    live: Live


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove what was staged for an attempt that is not going to be used."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Remember the files of a configuration that answered as the last good ones."""

    live: Live


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
class Look:
    """Ask nginx for its generation every so many seconds from now on; 0 stops asking."""

    every: float


@dataclass(frozen=True, slots=True)
class CountConnections:
    """Count the clients still connected.  Answered by ConnectionsCounted."""


@dataclass(frozen=True, slots=True)
class Requery:
    """Ask every source again now."""


@dataclass(frozen=True, slots=True)
class SaveState:
    """Put the record of the deadline on disk.  Answered by StateSaved."""

    record: Record


@dataclass(frozen=True, slots=True)
class Publish:
    """Show this view to whoever asks on the internal socket."""

    view: View


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


Order = (
    SpawnMaster
    | Stage
    | SpawnCheck
    | Swap
    | Restore
    | Discard
    | Keep
    | Kill
    | QuitOrphans
    | Look
    | CountConnections
    | Requery
    | SaveState
    | Publish
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


def leave(code: int, reason: str, **fields: Any) -> Exit:
    """
    Build an Exit from keywords.
    """
    return Exit(code, reason, MappingProxyType(fields))
