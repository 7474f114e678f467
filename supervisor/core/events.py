"""
Events: frozen values that describe what happened.

Producers post events and take no action.  The behaviour of the program is defined and tested in
terms of events and `commands`: a list of events leads to a list of commands.
"""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from supervisor.core.deadline_record import DeadlineRecord
from supervisor.core.job_deadline import JobVariable
from supervisor.core.model import (
    ChildKind,
    Endpoint,
    HealthState,
    Origin,
    ServerOptions,
    Unselected,
)
from supervisor.core.probe_outcome import Outcome
from supervisor.core.values import value_class


@value_class(frozen=True, slots=True)
class TimePassed:
    """A timer expired; the state determines which."""


@value_class(frozen=True, slots=True)
class SnapshotArrived:
    """
    A source answered with all its endpoints.

    `confirmed` is false for an empty answer that no second one has confirmed yet: a restored
    registry answers empty for a moment, and so does a group that restarts its tasks.
    `server_options` holds the endpoints whose tags set options, `allocations` the allocation of
    each endpoint if its checks are queried from Nomad, `origins` what the registry tells about the
    instance.  The counts are refused rows (`refused`),
    endpoints beyond the limit (`over_limit`), rows of other jobs or without the wanted tags and
    addresses of nginx itself (`skipped`), and tags that cannot be parsed (`invalid_tags`).
    `unselected` is what an answer without endpoints lists.
    `reasons` are the first reasons of refused rows, and of rows with the balancer's own address.
    """

    source: str
    endpoints: tuple[Endpoint, ...]
    confirmed: bool = True
    refused: int = 0
    over_limit: int = 0
    server_options: Mapping[Endpoint, ServerOptions] = field(default_factory=dict)
    allocations: Mapping[Endpoint, str] = field(default_factory=dict)
    origins: Mapping[Endpoint, Origin] = field(default_factory=dict)
    skipped: int = 0
    invalid_tags: int = 0
    jobs: tuple[str, ...] = ()
    unselected: Unselected = Unselected()
    reasons: tuple[str, ...] = ()


@value_class(frozen=True, slots=True)
class DiscoveryFailed:
    """A query failed or its answer was unusable; the source retries by itself."""

    source: str
    reason: str
    retry_in: float


@value_class(frozen=True, slots=True)
class ServicesListed:
    """
    The services that Nomad lists, as far as they may be meant instead of `service`.

    `near` are names in the own namespace, `namespaces` other ones that have a service of this name;
    `error` is why they cannot be listed.
    """

    service: str
    near: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    error: str = ""


@value_class(frozen=True, slots=True)
class HealthChanged:
    """The health of these endpoints changed."""

    health_states: Mapping[Endpoint, HealthState]


@value_class(frozen=True, slots=True)
class ProbesReported:
    """The last outcome for each of the requested endpoints that has one."""

    endpoints: frozenset[Endpoint]
    outcomes: Mapping[Endpoint, Outcome]


@value_class(frozen=True, slots=True)
class EndpointsSuspected:
    """nginx logged failed connections to these endpoints; a line may be old, or forged."""

    endpoints: frozenset[Endpoint]


@value_class(frozen=True, slots=True)
class ProbesFellBack:
    """Endpoints are probed by TCP instead of the configured way; `hint` is how to fix that."""

    reason: str
    hint: str


@value_class(frozen=True, slots=True)
class SignalArrived:
    """The supervisor received a signal."""

    signum: int


@value_class(frozen=True, slots=True)
class Spawned:
    """A child process was started."""

    kind: ChildKind
    pid: int


@value_class(frozen=True, slots=True)
class SpawnFailed:
    """A child process could not be started; `code` is the exit code to use."""

    kind: ChildKind
    code: int
    reason: str


@value_class(frozen=True, slots=True)
class PortBusy:
    """nginx was not started, because another process listens on `address`."""

    address: str


@value_class(frozen=True, slots=True)
class ChildExited:
    """
    A child exited and was reaped; for an exit by signal n the code is 128 + n.

    `lost` counts the requests that ended with their replica since the drain began.
    """

    pid: int
    kind: ChildKind
    code: int
    output: str = ""
    lost: int = 0


@value_class(frozen=True, slots=True)
class OrphansFound:
    """Workers that outlived their master; they received QUIT."""

    pids: frozenset[int]


@value_class(frozen=True, slots=True)
class Staged:
    """
    An attempt is rendered and written beside the live files, which are unchanged.

    `intact` is false if nginx runs these bytes, but the live files differ.  `reuseport` is set
    if a listener of the operator's files has a queue of its own in each worker.  `warnings` are
    about the operator's files.
    """

    attempt: int
    digest: str
    generation: str
    intact: bool
    reuseport: bool = False
    warnings: tuple[str, ...] = ()


@value_class(frozen=True, slots=True)
class StageFailed:
    """An attempt could not be rendered or written; the live files are unchanged."""

    attempt: int
    reason: str


@value_class(frozen=True, slots=True)
class Swapped:
    """The files of an attempt, or the restored last good files, are the live files now."""

    attempt: int


@value_class(frozen=True, slots=True)
class SwapFailed:
    """The live files could not be replaced; they are unchanged."""

    attempt: int
    reason: str


@value_class(frozen=True, slots=True)
class GenerationReported:
    """
    The generation nginx reported on a new internal connection; None if it timed out.

    Then `public_port_answers` is whether nginx answers its clients; None if that was not asked.
    """

    generation: str | None
    public_port_answers: bool | None = None


@value_class(frozen=True, slots=True)
class FilesChecked:
    """
    The lock and the sockets in RUNTIME_DIR were checked.

    `restored` are the names that were missing and exist again, `lost` sockets that only a reload of
    nginx creates again; `error` is why something could not be restored.
    """

    restored: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    error: str = ""


@value_class(frozen=True, slots=True)
class ConnectionsCounted:
    """The number of clients still connected to the public port."""

    open: int


@value_class(frozen=True, slots=True)
class UseObserved:
    """
    What clients did since the last look, with IDLE_TIMEOUT.

    `requests` have ended since then; of the `open` connections on ports for clients, `kept` were
    there at the last look too.  `error` is why this cannot be told.
    """

    requests: int = 0
    open: int = 0
    kept: int = 0
    error: str = ""


@value_class(frozen=True, slots=True)
class WorkersCounted:
    """
    The worker processes of the master, of all generations.

    `free_slots` is the number of processes that may still be started, infinite without a limit, and
    `needed` the number that a reload needs.
    """

    pids: frozenset[int]
    free_slots: float
    needed: int


@value_class(frozen=True, slots=True)
class WorkersSignalled:
    """Workers were signalled to exit at once; `cut` counts the client connections they had."""

    workers: int
    cut: int


@value_class(frozen=True, slots=True)
class JobStopAnswered:
    """
    Nomad's answer to the stop request; `error` is empty if it will stop the job.

    `status` is the HTTP status, None without a response; `retry_after` is in seconds.
    """

    error: str = ""
    status: int | None = None
    retry_after: float | None = None


@value_class(frozen=True, slots=True)
class WorkerDied:
    """An nginx worker exited unexpectedly; the master logged that and starts another one."""

    output: str


class Protocol(StrEnum):
    """What nginx refuses on the public port."""

    HTTP2 = "HTTP/2"
    TLS = "TLS"


@value_class(frozen=True, slots=True)
class ProtocolRefused:
    """
    nginx refused a client that used this protocol; posted once for each protocol.

    `client` is the address that connected, which may be a proxy's.
    """

    protocol: Protocol
    client: str


@value_class(frozen=True, slots=True)
class StateSaved:
    """The record of the deadline is on disk, or could not be written because of `error`."""

    error: str = ""
    record: DeadlineRecord | None = None


class Disk(StrEnum):
    """What the file writer reads and writes, each in a thread of its own."""

    CONFIG = "config"
    STATE = "state"


@value_class(frozen=True, slots=True)
class WriteOverdue:
    """The disk has not answered to a task of the file writer for longer than START_TIMEOUT."""

    disk: Disk
    task: str


@value_class(frozen=True, slots=True)
class WriteResumed:
    """A task that was overdue has ended after `duration` seconds."""

    disk: Disk
    duration: float


@value_class(frozen=True, slots=True)
class JobVariableRead:
    """
    The variable with the job's deadline was read, changed or not; None if there is none.

    `wall` is the instant of the reading in epoch seconds.
    """

    variable: JobVariable | None
    wall: float


@value_class(frozen=True, slots=True)
class JobVariableFailed:
    """
    The variable with the job's deadline cannot be read; the follower retries by itself.

    `is_denied`: the token may not read it.
    """

    reason: str
    is_denied: bool = False


@value_class(frozen=True, slots=True)
class JobVariableWritten:
    """
    The answer to WriteJobVariable: the variable as it was read back, or why it was not written.

    `wall` is the instant of the answer in epoch seconds; `status` the HTTP status of a refusal,
    None without a response.
    """

    ticket: int
    wall: float
    variable: JobVariable | None = None
    error: str = ""
    status: int | None = None


@value_class(frozen=True, slots=True)
class DeadlineRequested:
    """
    An admin request to move the deadline `by` a number of seconds, or to the instant `until`.

    `until` and `wall`, the wall clock time of the request, are epoch seconds.  With `only_balancer`
    the deadline of the job stays.  Answered by a Reply with this ticket.
    """

    ticket: int
    wall: float
    by: float | None = None
    until: float | None = None
    only_balancer: bool = False


@value_class(frozen=True, slots=True)
class StopRequested:
    """
    An admin request to shut down now; with `only_balancer` the rest of the job stays.

    `wall` is the instant of the request in epoch seconds.  Answered by a Reply with this ticket.
    """

    ticket: int
    wall: float = 0.0
    only_balancer: bool = False


#: Requests of operators, and all other events but the answer to one that is written to Nomad.
AdminRequest = DeadlineRequested | StopRequested
SystemEvent = (
    TimePassed
    | SnapshotArrived
    | DiscoveryFailed
    | ServicesListed
    | HealthChanged
    | ProbesReported
    | EndpointsSuspected
    | ProbesFellBack
    | SignalArrived
    | Spawned
    | SpawnFailed
    | PortBusy
    | ChildExited
    | OrphansFound
    | Staged
    | StageFailed
    | Swapped
    | SwapFailed
    | GenerationReported
    | FilesChecked
    | ConnectionsCounted
    | UseObserved
    | WorkersCounted
    | WorkersSignalled
    | JobStopAnswered
    | WorkerDied
    | ProtocolRefused
    | StateSaved
    | WriteOverdue
    | WriteResumed
    | JobVariableRead
    | JobVariableFailed
)
Event = SystemEvent | AdminRequest | JobVariableWritten
