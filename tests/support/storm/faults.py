"""
The table of faults: what each may cost, for how long, and why.

A kind without a cost must lose no request.  `slows` names what the program cannot do meanwhile:
"removal" of a dead replica from nginx's configuration, the "start" of the program or of nginx, or
the "notice" of a loss, because nginx itself does not run.
"""

from dataclasses import dataclass
from enum import StrEnum

#: Seconds by which changes that waited for the end of a fault delay what it has slowed.
_CATCHES_UP = 0.5


class Shape(StrEnum):
    """
    How a client lost a request.
    """

    REFUSED = "connection refused"
    CUT = "cut before the answer"
    KEPT_CUT = "kept connection cut before the answer"
    TRUNCATED = "answer truncated"
    BAD_GATEWAY = "502"
    UNAVAILABLE = "503"
    OTHER_STATUS = "another status"
    SILENT = "no answer in time"
    WRONG = "wrong answer"


@dataclass(frozen=True, slots=True)
class Cost:
    """
    Losses of these shapes are explained from the beginning of the fault until `tail` seconds after
    its effect was there, or with `lasts` after its end.

    `waits` names what ends these losses: while another fault slows that, they go on.
    `by_replica`: only losses whose tried replicas all have such a fault.  `by_hop`: only losses
    of requests that an old worker passed to the live ones.
    """

    shapes: frozenset[Shape]
    tail: float
    lasts: bool = False
    waits: str = ""
    by_replica: bool = False
    by_hop: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """
    One kind of fault.

    What it slows is slow for `recovers` seconds after its end.

    Two faults of the same `part` never overlap, except on replicas.  It lasts `least` to `most`
    seconds; `apart` seconds pass between two faults of the kinds that have `apart`.
    """

    name: str
    part: str
    why: str
    costs: tuple[Cost, ...] = ()
    slows: frozenset[str] = frozenset()
    recovers: float = _CATCHES_UP
    least: float = 1.0
    most: float = 4.0
    weight: int = 2
    replicas: tuple[int, int] = (0, 0)
    apart: float = 0.0


#: Seconds until a dead replica has left nginx's configuration (docs/health.md).
_REMOVED = 0.5

#: The same after a disk error: the attempt that failed is repeated after 1, 2, 4 s.
_REPEATED = 4.5

#: Seconds until all clients have noticed that a process has died.
NOTICED = 0.3

#: Seconds from the start of the program until it serves, on a busy machine.
_STARTED = 3.0

_IN_FLIGHT = frozenset({Shape.CUT, Shape.KEPT_CUT, Shape.TRUNCATED})
_NOT_ACCEPTED = frozenset({Shape.REFUSED, Shape.CUT})
_OF_REPLICA = frozenset({Shape.BAD_GATEWAY, Shape.TRUNCATED})
_BAD_GATEWAY = frozenset({Shape.BAD_GATEWAY})

_DIES = Cost(_OF_REPLICA, _REMOVED, waits="removal", by_replica=True)
_WORKER_DIES = (
    Cost(_IN_FLIGHT, NOTICED),
    Cost(_BAD_GATEWAY, NOTICED, by_hop=True),
)
_STARTS = Cost(
    _NOT_ACCEPTED | {Shape.UNAVAILABLE, Shape.KEPT_CUT}, _STARTED, lasts=True, waits="start"
)

#: At a reload a worker closes connections that were idle for a second (keepalive_min_timeout), also
#: those whose next request arrived while it was suspended.
_SUSPENDED = (Cost(frozenset({Shape.KEPT_CUT}), NOTICED, lasts=True),)

REMOVAL = frozenset({"removal"})
START = frozenset({"start"})
BOTH = REMOVAL | START
ALL = BOTH | {"notice"}

KINDS = (
    # -- replicas --
    Kind(
        "replica killed",
        "replica",
        "requests on it are lost; new ones reach another replica",
        (_DIES,),
        most=8,
        weight=5,
        replicas=(1, 1),
    ),
    Kind(
        "replicas killed",
        "replica",
        "the same, and both tries of a request may reach dead ones until these are removed",
        (_DIES,),
        most=8,
        weight=5,
        replicas=(2, 3),
    ),
    Kind(
        "replica restarted",
        "replica",
        "killed, and started at once",
        (_DIES,),
        least=0,
        most=0,
        weight=3,
        replicas=(1, 1),
    ),
    Kind(
        "replica stopped",
        "replica",
        "requests on it wait: no time limit is that short",
        weight=3,
        replicas=(1, 2),
    ),
    Kind("replica slow", "replica", "requests on it wait", weight=3, replicas=(1, 3)),
    Kind(
        "replica reset",
        "replica",
        "all its open connections are reset, new ones work",
        (Cost(_OF_REPLICA, NOTICED, by_replica=True),),
        least=0,
        most=0,
        weight=3,
        replicas=(1, 1),
    ),
    Kind(
        "replica refuses",
        "replica",
        "requests on it are answered; as for killed ones, both tries may be refused",
        (Cost(_BAD_GATEWAY, _REMOVED, waits="removal", by_replica=True),),
        weight=3,
        replicas=(1, 2),
    ),
    # -- the registry: what it says last stays valid, and probes decide --
    Kind("registry down", "registry", "the last set stays", slows=START, most=6),
    Kind("registry fails", "registry", "the last set stays", slows=START, most=6),
    Kind("registry hangs", "registry", "the last set stays", slows=START, most=6),
    Kind("registry slow", "registry", "the last set stays", slows=START, most=6),
    Kind("registry sends garbage", "registry", "the last set stays", slows=START, most=6),
    Kind("registry cuts answers", "registry", "the last set stays", slows=START, most=6),
    Kind(
        "registry lists dead replicas only",
        "registry",
        "the old ones serve while they answer and no new one does, for 30 s",
        slows=START,
        most=6,
    ),
    Kind(
        "registry lists nothing",
        "registry",
        "an empty list that was sent twice is believed: 503 until a second after it is corrected",
        (Cost(frozenset({Shape.UNAVAILABLE}), 1.0, lasts=True, waits="start"),),
        slows=START,
        least=2,
        weight=1,
    ),
    # -- nginx --
    Kind(
        "worker killed", "nginx", "requests on it are lost", _WORKER_DIES, least=0, most=0, weight=4
    ),
    Kind(
        "workers killed",
        "nginx",
        "requests on them are lost; the master keeps the port open",
        _WORKER_DIES,
        least=0,
        most=0,
    ),
    Kind("worker stopped", "nginx", "requests on it wait", _SUSPENDED, slows=ALL, weight=4),
    Kind("nginx stopped", "nginx", "all requests wait", _SUSPENDED, slows=ALL),
    Kind("master stopped", "nginx", "only changes wait", slows=ALL, weight=3),
    Kind(
        "master killed",
        "nginx",
        "workers finish their requests, and the port is closed until the next master",
        (Cost(_NOT_ACCEPTED | {Shape.KEPT_CUT}, _STARTED, waits="start"),),
        slows=BOTH,
        least=0,
        most=0,
        apart=25,
    ),
    Kind(
        "master terminated",
        "nginx",
        "nginx ends at once, with the requests on it",
        (
            *_WORKER_DIES,
            Cost(_NOT_ACCEPTED | {Shape.KEPT_CUT}, _STARTED, waits="start"),
        ),
        slows=BOTH,
        least=0,
        most=0,
        weight=1,
        apart=25,
    ),
    # -- the supervisor --
    Kind("supervisor stopped", "supervisor", "only changes wait", slows=REMOVAL, weight=4),
    Kind(
        "supervisor killed",
        "supervisor",
        "nginx is terminated with it; it serves again after its restart",
        (_STARTS, *_WORKER_DIES),
        slows=BOTH,
        least=0,
        most=1.5,
        weight=4,
    ),
    # -- disks and files: nginx serves from memory --
    Kind("RUNTIME_DIR full", "disk", "only changes wait", slows=BOTH, recovers=_REPEATED),
    Kind("RUNTIME_DIR read-only", "disk", "only changes wait", slows=BOTH, recovers=_REPEATED),
    Kind("RUNTIME_DIR hangs", "disk", "only changes wait", slows=BOTH, recovers=_REPEATED),
    Kind("STATE_DIR full", "disk", "the deadline is kept in memory", slows=START, weight=1),
    Kind("STATE_DIR read-only", "disk", "the deadline is kept in memory", slows=START, weight=1),
    Kind("STATE_DIR hangs", "disk", "the deadline is kept in memory", slows=START, weight=1),
    Kind("files removed", "disk", "they are made again", slows=BOTH, least=5, most=5, weight=5),
    # -- signals --
    Kind("SIGHUP burst", "signal", "reloads", slows=BOTH, least=0, most=0, weight=3),
    Kind("other signals", "signal", "ignored", least=0, most=0),
    Kind("master reloaded", "signal", "reloads", least=0, most=0),
    Kind("master reopens logs", "signal", "nothing to reopen", least=0, most=0),
)

#: An end of the program that a fault explains: no kind that is planned.
EXITED = Kind(
    "supervisor gave up its start",
    "supervisor",
    "a start on a broken disk fails, and is tried again",
    (_STARTS, *_WORKER_DIES),
    slows=BOTH,
    weight=0,
)
