"""
Merge the last answers of all sources of endpoints with the results of the probes.

Theory: only an answer changes the set; a failed query does not.  The last answer of a failing
source stays in use without limit, and an empty answer counts once a second one confirms it (the
source sets `confirmed`).  A listed endpoint is not ready until a probe has passed.  The plan uses
the first of these groups that is not empty: endpoints that are ready; endpoints that were just
removed from the registry and still respond; endpoints that were ready once and all fail now
(failing open).

A busy replica times out, so timeouts never remove more than half of the endpoints that were ready
once.  An endpoint without a probe result delays the plan for a moment, so that removals and
additions in one answer become one change.

All instants are seconds on the loop's clock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from supervisor.core.addresses import cap
from supervisor.core.events import DiscoveryFailed, HealthChanged, SnapshotArrived
from supervisor.core.model import (
    NEVER,
    CachedEndpoints,
    Endpoint,
    HealthState,
    Origin,
    ServerOptions,
    Unselected,
)
from supervisor.core.values import value_class

#: How long a change waits for the first probe of new endpoints, in seconds; by TCP it takes 25 ms.
FIRST_PROBE_WAIT = 0.035

#: How long an endpoint may be listed and not ready until the reason is reported, in seconds; all
#: that are due within the second after are reported with it.
EXPLAIN_AFTER = 30.0
_EXPLAIN_TOGETHER = 1.0

#: How long a source may list no endpoints until the cause is reported, in seconds.
CAUSE_AFTER = 10.0

#: How long removed endpoints may continue to serve while no other is ready, in seconds.
LINGER = 30.0


@value_class(frozen=True, slots=True)
class Source:
    """
    One service, file or list: its last answer, the time of it, and since when queries have failed.

    `empty_since` is since when it has listed no endpoints, `unselected` what it lists instead.
    `cause` is the reason for that, once it is known; `is_explained`: it was requested.
    """

    endpoints: tuple[Endpoint, ...] | None = None
    server_options: Mapping[Endpoint, ServerOptions] = field(default_factory=dict)
    allocations: Mapping[Endpoint, str] = field(default_factory=dict)
    origins: Mapping[Endpoint, Origin] = field(default_factory=dict)
    tried: bool = False
    answered_at: float | None = None
    failing_since: float | None = None
    empty_since: float | None = None
    unselected: Unselected = Unselected()
    is_explained: bool = False
    cause: str = ""

    @property
    def cause_due_at(self) -> float:
        """When the cause of an empty list is due."""
        if self.empty_since is None or self.is_explained:
            return NEVER
        return self.empty_since + CAUSE_AFTER


@value_class(frozen=True, slots=True)
class EndpointSet:
    """
    All sources by name, and the merged endpoints with their health.

    `known` are all listed endpoints, sorted, `watched` those to probe.  `leaving` maps each removed
    endpoint that serves only because no other is ready to the time of its removal.  `since` maps
    each endpoint to the time of its last health change.  `explain_at` maps listed endpoints that
    are not ready to the time at which the reason is due, in the order of these times; `explained`
    are those whose reason was requested.
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
    explain_at: Mapping[Endpoint, float] = field(default_factory=dict)
    explained: frozenset[Endpoint] = frozenset()
    hold_until: float = NEVER

    @classmethod
    def expecting(cls, names: Iterable[str], limit: int, *, is_probing: bool) -> "EndpointSet":
        """Return a set with sources that have not answered yet."""
        return cls(is_probing, limit, {name: Source() for name in names})

    @property
    def tried_all(self) -> bool:
        """Whether every source has answered or failed, so that the first start need not wait."""
        return all(source.tried for source in self.sources.values())

    @property
    def all_probed(self) -> bool:
        """Whether every endpoint has a first probe result."""
        return not self.is_probing or len(self.health_states) >= len(self.watched)

    @property
    def due_at(self) -> float:
        """The next instant at which the plan may change without an event."""
        linger_until = min(self.leaving.values(), default=NEVER) + LINGER
        return min(linger_until, self.hold_until)

    @property
    def cause_due_at(self) -> float:
        """When the cause of the next empty source is due."""
        return min((source.cause_due_at for source in self.sources.values()), default=NEVER)

    @property
    def explain_due_at(self) -> float:
        """When the next endpoint has not been ready for too long."""
        return next(iter(self.explain_at.values()), NEVER)


def restored(
    endpoint_set: EndpointSet, caches: Mapping[str, CachedEndpoints], now: float
) -> EndpointSet:
    """
    Load the endpoints cached by an earlier process, used until a source answers.
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
    Apply an answer; an unconfirmed empty one proves only that the source is available.
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
            origins=event.origins,
        )
    source = _with_emptiness(source, event.unselected, now)
    before = endpoint_set.sources[event.source]
    is_same = (
        before.endpoints == source.endpoints
        and before.server_options == source.server_options
        and before.allocations == source.allocations
    )
    endpoint_set = replace(endpoint_set, sources={**endpoint_set.sources, event.source: source})
    return endpoint_set if is_same else _merged(endpoint_set, now)


def explained(endpoint_set: EndpointSet, name: str, cause: str = "") -> EndpointSet:
    """
    Record that the cause of an empty source was requested, or what it is.
    """
    source = replace(endpoint_set.sources[name], is_explained=True, cause=cause)
    return replace(endpoint_set, sources={**endpoint_set.sources, name: source})


def failed(endpoint_set: EndpointSet, event: DiscoveryFailed, now: float) -> EndpointSet:
    """
    Apply a failed query: only `tried` and `failing_since` change.
    """
    source = endpoint_set.sources[event.source]
    since = now if source.failing_since is None else source.failing_since
    after = replace(source, tried=True, failing_since=since)
    return replace(endpoint_set, sources={**endpoint_set.sources, event.source: after})


def health_changed(endpoint_set: EndpointSet, event: HealthChanged, now: float) -> EndpointSet:
    """
    Apply results of the probes, ignoring those of endpoints that are gone.
    """
    found = {
        endpoint: HealthState.FAILING
        if health_state is HealthState.STARTING and endpoint in endpoint_set.was_ready
        else health_state
        for endpoint, health_state in event.health_states.items()
        if endpoint in endpoint_set.watched
    }
    changed = {
        each: now for each in found if found[each] is not endpoint_set.health_states.get(each)
    }
    endpoint_set = replace(
        endpoint_set,
        health_states={**endpoint_set.health_states, **found},
        since={**endpoint_set.since, **changed} if changed else endpoint_set.since,
    )
    endpoint_set = _update_explained(endpoint_set, changed, now)
    if endpoint_set.leaving and any(
        health_state is HealthState.READY and endpoint not in endpoint_set.leaving
        for endpoint, health_state in found.items()
    ):
        endpoint_set = _update_watched(replace(endpoint_set, leaving={}))
    return endpoint_set


def origin(endpoint_set: EndpointSet, endpoint: Endpoint) -> Origin | None:
    """
    Return what the first source that lists the endpoint tells about its instance.
    """
    found = (source.origins.get(endpoint) for source in endpoint_set.sources.values())
    return next((each for each in found if each is not None), None)


def take_unexplained(
    endpoint_set: EndpointSet, now: float
) -> tuple[EndpointSet, frozenset[Endpoint]]:
    """
    Take the endpoints that have not been ready for too long, each once while that lasts.
    """
    if now < endpoint_set.explain_due_at:
        return endpoint_set, frozenset()
    until = now + _EXPLAIN_TOGETHER
    due = frozenset(each for each, at in endpoint_set.explain_at.items() if at <= until)
    left = {each: at for each, at in endpoint_set.explain_at.items() if each not in due}
    return replace(endpoint_set, explain_at=left, explained=endpoint_set.explained | due), due


def may_answer(endpoint_set: EndpointSet, endpoints: Iterable[Endpoint]) -> bool:
    """
    Return whether one of these may answer a request; one without a probe result may.
    """
    down = (HealthState.STARTING, HealthState.FAILING)
    return any(endpoint_set.health_states.get(each) not in down for each in endpoints)


def is_holding(endpoint_set: EndpointSet, now: float) -> bool:
    """
    Return whether the plan must wait for the first probe of new endpoints.
    """
    return (
        endpoint_set.hold_until != NEVER
        and now < endpoint_set.hold_until
        and not endpoint_set.all_probed
    )


def all_passed(endpoint_set: EndpointSet, now: float) -> EndpointSet:
    """
    Return the set as it will be if the first probe of every new endpoint passes.
    """
    awaited = endpoint_set.watched.difference(endpoint_set.health_states)
    passed = HealthChanged(dict.fromkeys(awaited, HealthState.READY))
    return health_changed(endpoint_set, passed, now)


def release_hold(endpoint_set: EndpointSet) -> EndpointSet:
    """
    End the hold, after a plan was made.
    """
    return (
        endpoint_set
        if endpoint_set.hold_until == NEVER
        else replace(endpoint_set, hold_until=NEVER)
    )


def elapsed(endpoint_set: EndpointSet, now: float) -> EndpointSet:
    """
    Remove endpoints that have lingered for `LINGER` seconds, and end a hold that is over.
    """
    if now < endpoint_set.due_at:
        return endpoint_set
    leaving = {
        endpoint: since for endpoint, since in endpoint_set.leaving.items() if now < since + LINGER
    }
    hold = endpoint_set.hold_until if now < endpoint_set.hold_until else NEVER
    endpoint_set = replace(endpoint_set, hold_until=hold)
    if len(leaving) == len(endpoint_set.leaving):
        return endpoint_set
    return _update_watched(replace(endpoint_set, leaving=leaving))


def _with_emptiness(source: Source, unselected: Unselected, now: float) -> Source:
    """Return the source with since when it lists no endpoints; another cause is new."""
    if source.endpoints:
        if source.empty_since is None:
            return source
        return replace(
            source, empty_since=None, unselected=Unselected(), is_explained=False, cause=""
        )
    is_other = bool(unselected.listed) != bool(source.unselected.listed)
    if source.empty_since is None or is_other:
        source = replace(source, empty_since=now, is_explained=False, cause="")
    return replace(source, unselected=unselected)


def _merged(endpoint_set: EndpointSet, now: float) -> EndpointSet:
    """Merge the answers of all sources."""
    answers = [source for source in endpoint_set.sources.values() if source.endpoints]
    lists = [source.endpoints or () for source in answers]
    merged = lists[0] if len(lists) == 1 else sorted(set().union(*lists))
    known, _ = cap(merged, endpoint_set.limit)
    server_options = answers[0].server_options if len(answers) == 1 else _merged_options(answers)
    allocations: dict[Endpoint, str] = {}
    for source in answers:
        allocations |= source.allocations
    before = endpoint_set.known
    if endpoint_set.is_probing:
        endpoint_set = _explain_listed(endpoint_set, known, now)
    endpoint_set = replace(
        endpoint_set, known=known, server_options=server_options, allocations=allocations
    )
    if not endpoint_set.is_probing:
        return endpoint_set
    return _update_watched(replace(endpoint_set, leaving=_leaving(endpoint_set, before, now)), now)


def _explain_listed(
    endpoint_set: EndpointSet, listed: tuple[Endpoint, ...], now: float
) -> EndpointSet:
    """Await a reason for new endpoints, and none any more for those that are gone."""
    present, before = frozenset(listed), frozenset(endpoint_set.known)
    awaited = {each: at for each, at in endpoint_set.explain_at.items() if each in present}
    awaited |= dict.fromkeys(sorted(present - before), now + EXPLAIN_AFTER)
    return replace(endpoint_set, explain_at=awaited, explained=endpoint_set.explained & present)


def _update_explained(
    endpoint_set: EndpointSet, changed: Iterable[Endpoint], now: float
) -> EndpointSet:
    """Await no reason for endpoints that became ready, and one for those that are no more."""
    health_states, awaited = endpoint_set.health_states, endpoint_set.explain_at
    ready = {each for each in changed if health_states[each] is HealthState.READY}
    lost = {
        each
        for each in changed
        if each not in ready and each not in endpoint_set.leaving
        if each not in awaited and each not in endpoint_set.explained
    }
    if not lost and awaited.keys().isdisjoint(ready) and ready.isdisjoint(endpoint_set.explained):
        return endpoint_set
    left = {each: at for each, at in awaited.items() if each not in ready}
    left |= dict.fromkeys(sorted(lost), now + EXPLAIN_AFTER)
    return replace(endpoint_set, explain_at=left, explained=endpoint_set.explained - ready)


def _merged_options(answers: list[Source]) -> dict[Endpoint, ServerOptions]:
    """Merge the options of endpoints that several sources list."""
    default = ServerOptions()
    merged: dict[Endpoint, ServerOptions] = {}
    for source in answers:
        for endpoint in source.endpoints or ():
            options = source.server_options.get(endpoint, default)
            if endpoint in merged:
                options = merged[endpoint].merged_with(options)
            merged[endpoint] = options
    return {endpoint: options for endpoint, options in merged.items() if options != default}


def _leaving(
    endpoint_set: EndpointSet, before: tuple[Endpoint, ...], now: float
) -> dict[Endpoint, float]:
    """Return removed endpoints that were ready, as long as no listed endpoint can serve."""
    present = frozenset(endpoint_set.known)
    usable = (HealthState.READY, HealthState.SLOW)
    if not present or any(
        endpoint_set.health_states.get(each) in usable for each in endpoint_set.known
    ):
        return {}
    removed = {
        endpoint: now
        for endpoint in before
        if endpoint not in present and endpoint_set.health_states.get(endpoint) is HealthState.READY
    }
    return removed | {each: at for each, at in endpoint_set.leaving.items() if each not in present}


def _update_watched(endpoint_set: EndpointSet, now: float | None = None) -> EndpointSet:
    """Update the probed endpoints, drop the health of others, and hold for new ones."""
    watched = frozenset(endpoint_set.known).union(endpoint_set.leaving)
    health_states = {
        endpoint: health_state
        for endpoint, health_state in endpoint_set.health_states.items()
        if endpoint in watched
    }
    since = {endpoint: endpoint_set.since[endpoint] for endpoint in health_states}
    endpoint_set = replace(endpoint_set, watched=watched, health_states=health_states, since=since)
    if now is None or endpoint_set.all_probed:
        return endpoint_set
    return replace(endpoint_set, hold_until=min(endpoint_set.hold_until, now + FIRST_PROBE_WAIT))
