"""
What each source of endpoints last said, what the probes see of them, and the plan that follows.

Theory: an answer is knowledge, silence is not.  A source that fails keeps its last answer for
ever; an empty answer counts once a second one agrees (the source says so: `confirmed`).  Being
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
from supervisor.core.events import DiscoveryFailed, HealthChanged, SnapshotArrived
from supervisor.core.model import NEVER, CachedEndpoints, Endpoint, HealthState, ServerOptions

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
    server_options: Mapping[Endpoint, ServerOptions] = field(default_factory=dict)
    allocations: Mapping[Endpoint, str] = field(default_factory=dict)
    tried: bool = False
    answered_at: float | None = None
    failing_since: float | None = None


@dataclass(frozen=True, slots=True)
class EndpointSet:
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
    server_options: Mapping[Endpoint, ServerOptions] = field(default_factory=dict)
    allocations: Mapping[Endpoint, str] = field(default_factory=dict)
    health_states: Mapping[Endpoint, HealthState] = field(default_factory=dict)
    since: Mapping[Endpoint, float] = field(default_factory=dict)
    was_ready: frozenset[Endpoint] = frozenset()
    leaving: Mapping[Endpoint, float] = field(default_factory=dict)
    hold_until: float = NEVER

    @classmethod
    def expecting(cls, names: Iterable[str], limit: int, *, is_probing: bool) -> "EndpointSet":
        """Start with sources that have said nothing yet."""
        return cls(is_probing, limit, {name: Source() for name in names})

    @property
    def tried_all(self) -> bool:
        """Tell whether every source has answered or failed: then the first start need not wait."""
        return all(source.tried for source in self.sources.values())

    @property
    def is_judged(self) -> bool:
        """Tell whether no endpoint waits for its first verdict."""
        return not self.is_probing or len(self.health_states) >= len(self.watched)

    @property
    def due_at(self) -> float:
        """The next instant at which the plan may change without any event."""
        gone = min(self.leaving.values(), default=NEVER) + LINGER
        return min(gone, self.hold_until)


def restored(
    endpoint_set: EndpointSet, caches: Mapping[str, CachedEndpoints], now: float
) -> EndpointSet:
    """
    Begin with what an earlier process knew: old, but better than nothing until a source answers.
    """
    sources = dict(endpoint_set.sources)
    for name in caches.keys() & sources.keys():
        cached = caches[name]
        sources[name] = replace(
            sources[name],
            endpoints=cached.endpoints,
            server_options=cached.server_options,
            answered_at=now - cached.age,
        )
    was_ready = frozenset[Endpoint]().union(*(cached.ready for cached in caches.values()))
    return _merged(replace(endpoint_set, sources=sources, was_ready=was_ready), now)


def arrived(endpoint_set: EndpointSet, event: SnapshotArrived, now: float) -> EndpointSet:
    """
    Take in an answer; an uncertain empty one proves only that the source is there.
    """
    source = replace(
        endpoint_set.sources[event.source], tried=True, answered_at=now, failing_since=None
    )
    if event.confirmed:
        source = replace(
            source,
            endpoints=event.endpoints,
            server_options=event.server_options,
            allocations=event.allocations,
        )
    before = endpoint_set.sources[event.source]
    same = (
        before.endpoints == source.endpoints
        and before.server_options == source.server_options
        and before.allocations == source.allocations
    )
    endpoint_set = replace(endpoint_set, sources={**endpoint_set.sources, event.source: source})
    return endpoint_set if same else _merged(endpoint_set, now)


def failed(endpoint_set: EndpointSet, event: DiscoveryFailed, now: float) -> EndpointSet:
    """
    Take in a silence: nothing changes but since when.
    """
    source = endpoint_set.sources[event.source]
    since = now if source.failing_since is None else source.failing_since
    after = replace(source, tried=True, failing_since=since)
    return replace(endpoint_set, sources={**endpoint_set.sources, event.source: after})


def health_changed(endpoint_set: EndpointSet, event: HealthChanged, now: float) -> EndpointSet:
    """
    Take in what the probes found; of endpoints that are gone it is no news.
    """
    found = {
        endpoint: HealthState.FAILING
        if health_state is HealthState.STARTING and endpoint in endpoint_set.was_ready
        else health_state
        for endpoint, health_state in event.health_states.items()
        if endpoint in endpoint_set.watched
    }
    news = {each: now for each in found if found[each] is not endpoint_set.health_states.get(each)}
    endpoint_set = replace(
        endpoint_set,
        health_states={**endpoint_set.health_states, **found},
        since={**endpoint_set.since, **news} if news else endpoint_set.since,
    )
    if endpoint_set.leaving and any(
        health_state is HealthState.READY and endpoint not in endpoint_set.leaving
        for endpoint, health_state in found.items()
    ):
        endpoint_set = _watching(replace(endpoint_set, leaving={}))
    return endpoint_set


def is_holding(endpoint_set: EndpointSet, now: float) -> bool:
    """
    Tell whether a plan is to wait for the first verdict on new endpoints.
    """
    return (
        endpoint_set.hold_until != NEVER
        and now < endpoint_set.hold_until
        and not endpoint_set.is_judged
    )


def settled(endpoint_set: EndpointSet) -> EndpointSet:
    """
    End the hold: a plan was made of what is known by now.
    """
    return (
        endpoint_set
        if endpoint_set.hold_until == NEVER
        else replace(endpoint_set, hold_until=NEVER)
    )


def elapsed(endpoint_set: EndpointSet, now: float) -> EndpointSet:
    """
    Let go of what has lingered long enough, and of a hold that is over.
    """
    if now < endpoint_set.due_at:
        return endpoint_set
    staying = {
        endpoint: since for endpoint, since in endpoint_set.leaving.items() if now < since + LINGER
    }
    hold = endpoint_set.hold_until if now < endpoint_set.hold_until else NEVER
    endpoint_set = replace(endpoint_set, hold_until=hold)
    if len(staying) == len(endpoint_set.leaving):
        return endpoint_set
    return _watching(replace(endpoint_set, leaving=staying))


def _merged(endpoint_set: EndpointSet, now: float) -> EndpointSet:
    """Work out what the sources say together."""
    answers = [source for source in endpoint_set.sources.values() if source.endpoints]
    every = [source.endpoints or () for source in answers]
    merged = every[0] if len(every) == 1 else sorted(set().union(*every))
    known, _ = cap(merged, endpoint_set.limit)
    server_options = answers[0].server_options if len(answers) == 1 else _together(answers)
    allocations: dict[Endpoint, str] = {}
    for source in answers:
        allocations |= source.allocations
    before = endpoint_set.known
    endpoint_set = replace(
        endpoint_set, known=known, server_options=server_options, allocations=allocations
    )
    if not endpoint_set.is_probing:
        return endpoint_set
    return _watching(replace(endpoint_set, leaving=_leaving(endpoint_set, before, now)), now)


def _together(answers: list[Source]) -> dict[Endpoint, ServerOptions]:
    """Settle what an endpoint asks for that several sources list."""
    usual = ServerOptions()
    asked: dict[Endpoint, ServerOptions] = {}
    for source in answers:
        for endpoint in source.endpoints or ():
            options = source.server_options.get(endpoint, usual)
            asked[endpoint] = asked[endpoint].merged_with(options) if endpoint in asked else options
    return {endpoint: options for endpoint, options in asked.items() if options != usual}


def _leaving(
    endpoint_set: EndpointSet, before: tuple[Endpoint, ...], now: float
) -> dict[Endpoint, float]:
    """Find who serves on: what was ready and left, as long as nobody listed can serve."""
    present = frozenset(endpoint_set.known)
    usable = (HealthState.READY, HealthState.SLOW)
    if not present or any(
        endpoint_set.health_states.get(each) in usable for each in endpoint_set.known
    ):
        return {}
    fresh = {
        endpoint: now
        for endpoint in before
        if endpoint not in present and endpoint_set.health_states.get(endpoint) is HealthState.READY
    }
    return fresh | {each: at for each, at in endpoint_set.leaving.items() if each not in present}


def _watching(endpoint_set: EndpointSet, now: float | None = None) -> EndpointSet:
    """Settle who is probed, forget the conditions of all others, and hold for the new ones."""
    watched = frozenset(endpoint_set.known).union(endpoint_set.leaving)
    health_states = {
        endpoint: health_state
        for endpoint, health_state in endpoint_set.health_states.items()
        if endpoint in watched
    }
    since = {endpoint: endpoint_set.since[endpoint] for endpoint in health_states}
    endpoint_set = replace(endpoint_set, watched=watched, health_states=health_states, since=since)
    if now is None or endpoint_set.is_judged:
        return endpoint_set
    return replace(endpoint_set, hold_until=min(endpoint_set.hold_until, now + FIRST_LOOK))
