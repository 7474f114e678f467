"""
The value types shared by all packages.

All are frozen, so that a producer's thread can pass them on without a lock, and equal answers
compare equal.
"""

import hashlib
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from supervisor.core import words
from supervisor.core.values import value_class

#: An instant that never comes.
NEVER = math.inf


class Endpoint(NamedTuple):
    """
    The address and port on which a replica listens.

    The host is an IP address formatted from its bytes, never the received text: it is the only
    data from the registry that reaches a config file (see `addresses`).  A tuple, because ten
    thousand of them are sorted, compared and hashed at each change.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ServerOptions(NamedTuple):
    """
    The balancing options of an endpoint, from the tags of its service.

    A backup receives traffic only while no other endpoint is ready, a draining endpoint only while
    there is no other.
    """

    weight: int = 1
    backup: bool = False
    drain: bool = False

    def merged_with(self, other: "ServerOptions") -> "ServerOptions":
        """
        Merge the options of two instances that list the same endpoint, in any order.

        A draining one is on its way out: the other one's options count.
        """
        if self.drain != other.drain:
            return other if self.drain else self
        return ServerOptions(
            max(self.weight, other.weight),
            self.backup and other.backup,
            self.drain,
        )


class Origin(NamedTuple):
    """
    What the registry tells about the instance behind an endpoint; empty where it does not.

    `allocation` and `node` are Nomad's IDs.  It is shown to people, and decides nothing.
    """

    allocation: str
    node: str
    job: str


class HealthState(StrEnum):
    """
    The health of an endpoint according to its probes.

    An endpoint in one of the last three states was ready once; a `slow` one only times out.
    """

    UNKNOWN = "unknown"
    STARTING = "starting"
    READY = "ready"
    SLOW = "slow"
    FAILING = "failing"


#: The states of endpoints that were ready at least once.
ONCE_READY = frozenset({HealthState.READY, HealthState.SLOW, HealthState.FAILING})


class Mode(StrEnum):
    """
    The behaviour of the public port; `serve` and `draining` proxy if the plan has endpoints.
    """

    SERVE = "serve"
    STARTING = "starting"
    NO_ENDPOINTS = "no_endpoints"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"


@value_class(frozen=True, slots=True)
class Plan:
    """
    The wanted state of nginx: the endpoints, sorted and unique, and the mode.

    `server_options` holds, in the same order, the endpoints whose options differ from the default;
    `sunset` is the deadline in whole epoch seconds.  Equivalent plans are equal, independent of the
    order in the registry; that equality alone decides whether anything changed.
    """

    endpoints: tuple[Endpoint, ...]
    mode: Mode
    server_options: tuple[tuple[Endpoint, ServerOptions], ...] = ()
    sunset: int | None = None

    @property
    def fingerprint(self) -> str:
        """
        A short hash of the plan for log lines.
        """
        text = "\n".join(
            (self.mode, str(self.sunset), *map(str, self.endpoints), *map(str, self.server_options))
        )
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def changes(self, before: "Plan | None") -> str:
        """
        Describe the changes from the plan `before`, for the log and the list of reloads.
        """
        if before is None:
            return "first start"
        old, new = frozenset(before.endpoints), frozenset(self.endpoints)
        changes = [
            f"{count} endpoint{'s' if count > 1 else ''} {verb}"
            for count, verb in ((len(new - old), "added"), (len(old - new), "removed"))
            if count
        ]
        if self.mode is not before.mode:
            changes.append(f"from {words.mode(before.mode)} to {words.mode(self.mode)}")
        if self.server_options != before.server_options and old == new:
            changes.append("server options changed")
        if self.sunset != before.sunset:
            changes.append("deadline moved")
        return ", ".join(changes) or "files read again"


@value_class(frozen=True, slots=True)
class Unselected:
    """
    What a source lists without an endpoint among it.

    `listed` counts all instances; `jobs` are those that SERVICE_JOB excludes, `tags` those of the
    instances without SERVICE_TAGS, a few of each; `own` counts addresses of the balancer itself.
    """

    listed: int = 0
    jobs: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    own: int = 0


@value_class(frozen=True, slots=True)
class CachedEndpoints:
    """
    The last answer of a source, cached for a restart, with the endpoints that were ready then.

    `age` is the number of seconds since the source answered.
    """

    endpoints: tuple[Endpoint, ...]
    server_options: Mapping[Endpoint, ServerOptions]
    ready: frozenset[Endpoint]
    age: float


@value_class(frozen=True, slots=True)
class LiveConfig:
    """
    The last configuration that nginx responded with, to which a failed attempt falls back.

    `digest` covers every byte nginx read, the operator's own files included.  `generation` is the
    digest with the number of the attempt, as the running nginx reports it.  `rotation` is by how
    many places the order of servers is rotated.  `reuseport`: see `events.Staged`.
    """

    plan: Plan
    digest: str
    generation: str
    attempt: int
    rotation: int
    reuseport: bool = False


class ChildKind(StrEnum):
    """
    The purpose of a child process; `other` is an adopted process.
    """

    MASTER = "master"
    CHECK = "check"
    SCRIPT = "script"
    OTHER = "other"


@value_class(frozen=True, slots=True)
class View:
    """
    The state shown on the internal socket; published by the loop, not computed per request.

    `healthy` means that nginx reports its generation, `ready` that it also serves endpoints.  `at`
    is the instant of the view on the loop's clock.
    """

    at: float
    healthy: bool = False
    ready: bool = False
    phase: str = "starting"
    mode: str = "starting"
    endpoints: int = 0
    generation: str = ""
