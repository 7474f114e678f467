"""
What each source of endpoints last said, what the probes see of them, and the plan that follows.

Theory: an answer is knowledge, silence is not.  A source that fails keeps its last answer for
ever; an empty answer counts once a second one agrees (the source says so: `certain`).  Being
listed is not being ready: an endpoint serves once a probe has passed.  The plan is then the first
of these that is not empty: those that are ready; those that have just left the registry and still
answer; those that were ready once, all failing now (failing open).

Timeouts are what a busy replica looks like: they never take out more than half of those that were
ready once.  An endpoint that is not judged yet holds back the plan for a moment, so that what
leaves and what comes in one answer is one change.

All instants are seconds on the loop's clock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from supervisor.core.addresses import cap
from supervisor.core.events import DiscoveryFailed, HealthSeen, SnapshotArrived
from supervisor.core.model import NEVER, Condition, Endpoint, Memory, Share

#: How long a change waits for the first verdict on new endpoints: a probe by TCP takes 25 ms.
FIRST_LOOK = 0.035

#: How long endpoints that left the registry may go on serving while nothing else is ready.
LINGER = 30.0


@dataclass(frozen=True, slots=True)
class Source:
    """
    One service, file or list: its last answer and when it gave it, and since when it has failed.
    """

    endpoints: tuple[Endpoint, ...] | None = None
    shares: Mapping[Endpoint, Share] = field(default_factory=dict)
    allocations: Mapping[Endpoint, str] = field(default_factory=dict)
    tried: bool = False
    heard_at: float | None = None
    failing_since: float | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """
    All sources by name, and what follows from them together.

    `known` are all endpoints, sorted, `watched` those to be probed; `leaving` tells when each of
    those left that serve on only because nothing else is ready, `since` when a condition began.
    """

    is_probing: bool
    limit: int
    sources: dict[str, Source] = field(default_factory=dict)
    known: tuple[Endpoint, ...] = ()
    watched: frozenset[Endpoint] = frozenset()
    shares: Mapping[Endpoint, Share] = field(default_factory=dict)
    allocations: Mapping[Endpoint, str] = field(default_factory=dict)
    conditions: Mapping[Endpoint, Condition] = field(default_factory=dict)
    since: Mapping[Endpoint, float] = field(default_factory=dict)
    proven: frozenset[Endpoint] = frozenset()
    leaving: Mapping[Endpoint, float] = field(default_factory=dict)
    hold_until: float = NEVER

    @classmethod
    def expecting(cls, names: Iterable[str], limit: int, *, is_probing: bool) -> "Targets":
        """Start with sources that have said nothing yet."""
        return cls(is_probing, limit, {name: Source() for name in names})

    @property
    def tried_all(self) -> bool:
        """Tell whether every source has answered or failed: then the first start need not wait."""
        return all(source.tried for source in self.sources.values())

    @property
    def is_judged(self) -> bool:
        """Tell whether no endpoint waits for its first verdict."""
        return not self.is_probing or len(self.conditions) >= len(self.watched)

    @property
    def due_at(self) -> float:
        """The next instant at which the plan may change without any event."""
        gone = min(self.leaving.values(), default=NEVER) + LINGER
        return min(gone, self.hold_until)


def recalled(targets: Targets, memories: Mapping[str, Memory], now: float) -> Targets:
    """
    Begin with what an earlier process knew: old, but better than nothing until a source answers.
    """
    sources = dict(targets.sources)
    for name in memories.keys() & sources.keys():
        memory = memories[name]
        sources[name] = replace(
            sources[name],
            endpoints=memory.endpoints,
            shares=memory.shares,
            heard_at=now - memory.age,
        )
    proven = frozenset[Endpoint]().union(*(memory.ready for memory in memories.values()))
    return _merged(replace(targets, sources=sources, proven=proven), now)


def arrived(targets: Targets, event: SnapshotArrived, now: float) -> Targets:
    """
    Take in an answer; an uncertain empty one proves only that the source is there.
    """
    source = replace(targets.sources[event.source], tried=True, heard_at=now, failing_since=None)
    if event.certain:
        source = replace(
            source,
            endpoints=event.endpoints,
            shares=event.shares,
            allocations=event.allocations,
        )
    before = targets.sources[event.source]
    same = (
        before.endpoints == source.endpoints
        and before.shares == source.shares
        and before.allocations == source.allocations
    )
    targets = replace(targets, sources={**targets.sources, event.source: source})
    return targets if same else _merged(targets, now)


def failed(targets: Targets, event: DiscoveryFailed, now: float) -> Targets:
    """
    Take in a silence: nothing changes but since when.
    """
    source = targets.sources[event.source]
    since = now if source.failing_since is None else source.failing_since
    after = replace(source, tried=True, failing_since=since)
    return replace(targets, sources={**targets.sources, event.source: after})


def seen(targets: Targets, event: HealthSeen, now: float) -> Targets:
    """
    Take in what the probes found; of endpoints that are gone it is no news.
    """
    found = {
        endpoint: Condition.FAILING
        if condition is Condition.STARTING and endpoint in targets.proven
        else condition
        for endpoint, condition in event.conditions.items()
        if endpoint in targets.watched
    }
    news = {each: now for each in found if found[each] is not targets.conditions.get(each)}
    targets = replace(
        targets,
        conditions={**targets.conditions, **found},
        since={**targets.since, **news} if news else targets.since,
    )
    if targets.leaving and any(
        condition is Condition.READY and endpoint not in targets.leaving
        for endpoint, condition in found.items()
    ):
        targets = _watching(replace(targets, leaving={}))
    return targets


def is_holding(targets: Targets, now: float) -> bool:
    """
    Tell whether a plan is to wait for the first verdict on new endpoints.
    """
    return targets.hold_until != NEVER and now < targets.hold_until and not targets.is_judged


def settled(targets: Targets) -> Targets:
    """
    End the hold: a plan was made of what is known by now.
    """
    return targets if targets.hold_until == NEVER else replace(targets, hold_until=NEVER)


def elapsed(targets: Targets, now: float) -> Targets:
    """
    Let go of what has lingered long enough, and of a hold that is over.
    """
    if now < targets.due_at:
        return targets
    staying = {
        endpoint: since for endpoint, since in targets.leaving.items() if now < since + LINGER
    }
    hold = targets.hold_until if now < targets.hold_until else NEVER
    targets = replace(targets, hold_until=hold)
    if len(staying) == len(targets.leaving):
        return targets
    return _watching(replace(targets, leaving=staying))


def _merged(targets: Targets, now: float) -> Targets:
    """Work out what the sources say together."""
    answers = [source for source in targets.sources.values() if source.endpoints]
    every = [source.endpoints or () for source in answers]
    merged = every[0] if len(every) == 1 else sorted(set().union(*every))
    known, _ = cap(merged, targets.limit)
    shares = answers[0].shares if len(answers) == 1 else _together(answers)
    allocations: dict[Endpoint, str] = {}
    for source in answers:
        allocations |= source.allocations
    before = targets.known
    targets = replace(targets, known=known, shares=shares, allocations=allocations)
    if not targets.is_probing:
        return targets
    return _watching(replace(targets, leaving=_leaving(targets, before, now)), now)


def _together(answers: list[Source]) -> dict[Endpoint, Share]:
    """Settle what an endpoint asks for that several sources list."""
    usual = Share()
    asked: dict[Endpoint, Share] = {}
    for source in answers:
        for endpoint in source.endpoints or ():
            share = source.shares.get(endpoint, usual)
            asked[endpoint] = asked[endpoint].joined(share) if endpoint in asked else share
    return {endpoint: share for endpoint, share in asked.items() if share != usual}


def _leaving(targets: Targets, before: tuple[Endpoint, ...], now: float) -> dict[Endpoint, float]:
    """Find who serves on: what was ready and left, as long as nobody listed can serve."""
    present = frozenset(targets.known)
    usable = (Condition.READY, Condition.SLOW)
    if not present or any(targets.conditions.get(each) in usable for each in targets.known):
        return {}
    fresh = {
        endpoint: now
        for endpoint in before
        if endpoint not in present and targets.conditions.get(endpoint) is Condition.READY
    }
    return fresh | {each: at for each, at in targets.leaving.items() if each not in present}


def _watching(targets: Targets, now: float | None = None) -> Targets:
    """Settle who is probed, forget the conditions of all others, and hold for the new ones."""
    watched = frozenset(targets.known).union(targets.leaving)
    conditions = {
        endpoint: condition
        for endpoint, condition in targets.conditions.items()
        if endpoint in watched
    }
    since = {endpoint: targets.since[endpoint] for endpoint in conditions}
    targets = replace(targets, watched=watched, conditions=conditions, since=since)
    if now is None or targets.is_judged:
        return targets
    return replace(targets, hold_until=min(targets.hold_until, now + FIRST_LOOK))
