"""
Events: what happened, in frozen words.

Producers post them and never act.  Together with `commands` they are the language in which the
behaviour of the program is written and tested: a list of the one leads to a list of the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.model import ChildKind, Endpoint, HealthState, ServerOptions


@dataclass(frozen=True, slots=True)
class TimePassed:
    """A timer ran out; the state says which."""


@dataclass(frozen=True, slots=True)
class SnapshotArrived:
    """
    A source answered with every endpoint it knows.

    `confirmed` is false for an empty answer that no second one has confirmed yet: a restored
    registry answers empty for a moment, and so does a group that restarts its tasks.  `server_options`
    holds the endpoints whose tags ask for something, `allocations` the allocation of each where
    Nomad is asked for their checks.  Counted are rows that were refused, endpoints beyond the
    limit, rows passed over because they are not ours to serve, and tags that make no sense.
    """

    source: str
    endpoints: tuple[Endpoint, ...]
    confirmed: bool = True
    refused: int = 0
    over_limit: int = 0
    server_options: Mapping[Endpoint, ServerOptions] = field(default_factory=dict)
    allocations: Mapping[Endpoint, str] = field(default_factory=dict)
    skipped: int = 0
    invalid_tags: int = 0
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DiscoveryFailed:
    """A source did not answer, or what it said is no knowledge; it asks again by itself."""

    source: str
    reason: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class HealthChanged:
    """The probes changed their mind about these endpoints."""

    health_states: Mapping[Endpoint, HealthState]


@dataclass(frozen=True, slots=True)
class ProbesFellBack:
    """Endpoints are probed by TCP instead of the way that was asked for, and what would help."""

    reason: str
    hint: str


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
    output: str = ""


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
class GenerationReported:
    """What nginx answered on a fresh internal connection; None when it did not answer in time."""

    generation: str | None


@dataclass(frozen=True, slots=True)
class ConnectionsCounted:
    """How many clients are still connected to the public port."""

    open: int


@dataclass(frozen=True, slots=True)
class WorkersCounted:
    """
    Which worker processes the master has, of whatever generation.

    So many processes may still be started (`room`, infinite where nothing bounds it), and so many
    a reload needs.
    """

    pids: frozenset[int]
    room: float
    needed: int


@dataclass(frozen=True, slots=True)
class WorkersSignalled:
    """So many workers were told to go at once, and with them the connections of so many clients."""

    workers: int
    cut: int


@dataclass(frozen=True, slots=True)
class JobStopAnswered:
    """
    Nomad will stop the job, or why not: the HTTP status where there was one, and when to ask again.
    """

    error: str = ""
    status: int | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """A worker of nginx ended by itself; the master has told, and starts another one."""

    output: str


@dataclass(frozen=True, slots=True)
class StateSaved:
    """The record of the deadline is on disk, or the reason why it is not."""

    error: str = ""
    record: DeadlineRecord | None = None


@dataclass(frozen=True, slots=True)
class DeadlineRequested:
    """
    Somebody wants another deadline: `by` so many seconds more or less, or `until` an instant.

    Both `until` and `wall`, the time by the wall clock of asking, are epoch seconds.  Answered by
    a Reply with this ticket.
    """

    ticket: int
    wall: float
    by: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class StopRequested:
    """Somebody wants the end to begin now.  Answered by a Reply with this ticket."""

    ticket: int


#: What people ask for, and what happens all by itself.
AdminRequest = DeadlineRequested | StopRequested
SystemEvent = (
    TimePassed
    | SnapshotArrived
    | DiscoveryFailed
    | HealthChanged
    | ProbesFellBack
    | SignalArrived
    | Spawned
    | SpawnFailed
    | ChildExited
    | OrphansFound
    | Staged
    | StageFailed
    | Swapped
    | SwapFailed
    | GenerationReported
    | ConnectionsCounted
    | WorkersCounted
    | WorkersSignalled
    | JobStopAnswered
    | WorkerDied
    | StateSaved
)
Event = SystemEvent | AdminRequest
