"""
The nouns: what the floors above talk about.

All are frozen values, so that a producer's thread can hand them over without a lock, and so
that two answers that mean the same are equal.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

#: An instant that does not come.
NEVER = math.inf


class Endpoint(NamedTuple):
    """
    One place that answers requests: where a replica listens.

    The host is an IP address written anew from its bytes, never the text that was received: this
    is the only thing from the registry that reaches a config file (see `admission`).  A tuple,
    because ten thousand of them are sorted, compared and hashed at each change.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ServerOptions(NamedTuple):
    """
    How much of the traffic an endpoint asks for, by the tags of its service.

    A backup gets traffic only while no other endpoint is ready, one that drains only while there
    is nobody else at all.
    """

    weight: int = 1
    backup: bool = False
    drain: bool = False

    def merged_with(self, other: "ServerOptions") -> "ServerOptions":
        """
        Settle what two who list the same endpoint ask for, in whatever order they come.
        """
        return ServerOptions(
            max(self.weight, other.weight),
            self.backup and other.backup,
            self.drain or other.drain,
        )


class HealthState(StrEnum):
    """
    What the probes know of an endpoint.

    The last three have been ready once; `slow` ones answer too late and nothing worse.
    """

    UNKNOWN = "unknown"
    STARTING = "starting"
    READY = "ready"
    SLOW = "slow"
    FAILING = "failing"


#: Whoever is in one of these has been ready once.
ONCE_READY = frozenset({HealthState.READY, HealthState.SLOW, HealthState.FAILING})


class Mode(StrEnum):
    """
    What the public port tells a client: `serve` and `draining` proxy as long as anybody answers.
    """

    SERVE = "serve"
    STARTING = "starting"
    NO_ENDPOINTS = "no_endpoints"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What nginx should do: the endpoints, sorted and unique, and the mode.

    `server_options` holds those endpoints, in the same order, that are to be treated otherwise than all
    others; `sunset` is the deadline in whole epoch seconds.  Two plans that mean the same are
    equal, in whatever order the registry listed them; that equality alone decides whether anything
    changed.
    """

    endpoints: tuple[Endpoint, ...]
    mode: Mode
    server_options: tuple[tuple[Endpoint, ServerOptions], ...] = ()
    sunset: int | None = None

    @property
    def fingerprint(self) -> str:
        """
        A short name of the plan for log lines.
        """
        text = "\n".join(
            (self.mode, str(self.sunset), *map(str, self.endpoints), *map(str, self.server_options))
        )
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def changes(self, before: "Plan | None") -> str:
        """
        Say in a few words what this plan changes, as people read it in a list of reloads.
        """
        if before is None:
            return "first start"
        old, new = frozenset(before.endpoints), frozenset(self.endpoints)
        told = [
            f"{count} endpoint{'s' if count > 1 else ''} {verb}"
            for count, verb in ((len(new - old), "added"), (len(old - new), "removed"))
            if count
        ]
        if self.mode is not before.mode:
            told.append(f"{before.mode} became {self.mode}")
        if self.server_options != before.server_options and old == new:
            told.append("shares changed")
        if self.sunset != before.sunset:
            told.append("deadline moved")
        return ", ".join(told) or "files read again"


@dataclass(frozen=True, slots=True)
class CachedEndpoints:
    """
    What a source knew, to be remembered over a restart: its last answer and who was ready then.

    `age` is how many seconds ago the source answered.
    """

    endpoints: tuple[Endpoint, ...]
    server_options: Mapping[Endpoint, ServerOptions]
    ready: frozenset[Endpoint]
    age: float


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """
    The configuration that answered last: what a failed attempt falls back to.

    The digest is over every byte nginx read, the operator's own files included; the
    generation is the digest with the number of the attempt, as the running nginx says it.
    The turn says how far the order of servers is rotated.
    """

    plan: Plan
    digest: str
    generation: str
    attempt: int
    rotation: int


class ChildKind(StrEnum):
    """
    What a child process was started for; `other` is one that was adopted.
    """

    MASTER = "master"
    CHECK = "check"
    SCRIPT = "script"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class View:
    """
    What readers of the internal socket see; published by the loop, never computed for them.

    `healthy` means that nginx answers its generation; `ready` that it does so and serves
    endpoints.  `at` is the loop's clock when the view was true.
    """

    at: float
    healthy: bool = False
    ready: bool = False
    phase: str = "starting"
    mode: str = "starting"
    endpoints: int = 0
    generation: str = ""
