"""
What each source of endpoints last said, and the plan that follows from it.

Theory: an answer is knowledge, silence is not.  A source that fails keeps its last answer for
ever; an empty answer counts once a second one agrees (the source says so: `certain`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from supervisor.admission import cap
from supervisor.events import DiscoveryFailed, SnapshotArrived
from supervisor.model import Endpoint, Mode, Plan


@dataclass(frozen=True, slots=True)
class Source:
    """
    One service, file or list: its last answer, and since when it has been failing.
    """

    endpoints: tuple[Endpoint, ...] | None = None
    tried: bool = False
    answered_at: float | None = None
    failing_since: float | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """
    All sources by name; together they form one upstream.
    """

    sources: dict[str, Source] = field(default_factory=dict)

    @classmethod
    def expecting(cls, names: Iterable[str]) -> "Targets":
        """Start with sources that have said nothing yet."""
        return cls({name: Source() for name in names})

    @property
    def tried_all(self) -> bool:
        """Tell whether every source has answered or failed: then the first start need not wait."""
        return all(source.tried for source in self.sources.values())


def arrived(targets: Targets, event: SnapshotArrived, now: float) -> Targets:
    """
    Take in an answer; an uncertain empty one proves only that the source is there.
    """
    source = targets.sources[event.source]
    endpoints = event.endpoints if event.certain else source.endpoints
    return _with(
        targets,
        event.source,
        replace(source, endpoints=endpoints, tried=True, answered_at=now, failing_since=None),
    )


def failed(targets: Targets, event: DiscoveryFailed, now: float) -> Targets:
    """
    Take in a silence: nothing changes but since when.
    """
    source = targets.sources[event.source]
    since = now if source.failing_since is None else source.failing_since
    return _with(targets, event.source, replace(source, tried=True, failing_since=since))


def choose(targets: Targets, limit: int) -> Plan:
    """
    Make the plan: all endpoints of all sources, or why there are none.
    """
    answers = [source.endpoints for source in targets.sources.values()]
    known = [answer for answer in answers if answer]
    if known:
        merged = known[0] if len(known) == 1 else sorted(set().union(*known))
        return Plan(cap(merged, limit)[0], Mode.SERVE)
    return Plan((), Mode.STARTING if None in answers else Mode.NO_ENDPOINTS)


def _with(targets: Targets, name: str, source: Source) -> Targets:
    return Targets({**targets.sources, name: source})
