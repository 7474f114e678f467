"""
Select the rows of a service that are served, and their options, from a response of the registry.

A row is *refused* if it is malformed or its address must not get traffic.  It is *skipped* if it is
well formed but not selected: another job's, without a required tag, or the balancer's own address.
Otherwise it is an endpoint.  The difference matters: a response whose rows are all refused is
treated as a failure, one whose rows are all skipped as valid and empty.

Pure, and fast: ten thousand rows are an ordinary response, and changes can be frequent.
"""

import re
from collections.abc import Sequence
from dataclasses import field

from supervisor.core.addresses import OURS, cap, validate, why_refused
from supervisor.core.config.settings import Settings
from supervisor.core.model import Endpoint, Origin, ServerOptions, Unselected
from supervisor.core.values import value_class
from supervisor.discovery import tags

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

#: How many jobs are reported when a service has several, and how much of each name.
_MAX_JOBS = 5
_MAX_JOB_LENGTH = 128

#: How many tags of instances that are not selected are reported, and how much of each.
_MAX_TAGS = 10
_MAX_TAG_LENGTH = 64

#: How many reasons of refused rows, and of the balancer's own, are reported.
MAX_REASONS = 3

_DEFAULT = ServerOptions()


@value_class(frozen=True, slots=True)
class Selection:
    """
    The result of one response; the fields are those of `SnapshotArrived`.

    Two selections are equal if they serve the same endpoints in the same way, whatever other rows
    there were.
    """

    endpoints: tuple[Endpoint, ...] = ()
    server_options: dict[Endpoint, ServerOptions] = field(default_factory=dict)
    allocations: dict[Endpoint, str] = field(default_factory=dict)
    origins: dict[Endpoint, Origin] = field(default_factory=dict, compare=False)
    refused: int = field(default=0, compare=False)
    over_limit: int = field(default=0, compare=False)
    skipped: int = field(default=0, compare=False)
    invalid_tags: int = field(default=0, compare=False)
    reasons: tuple[str, ...] = field(default=(), compare=False)
    jobs: tuple[str, ...] = field(default=(), compare=False)
    unselected: Unselected = field(default=Unselected(), compare=False)

    @property
    def all_rejected(self) -> bool:
        """
        Return whether there were refused rows and no endpoints.
        """
        return bool(self.refused) and not self.endpoints


def select(rows: Sequence[object], settings: Settings) -> Selection:
    """
    Select from the rows of a service; an invalid row does not affect the others.
    """
    address_policy, job, required_tags = (
        settings.address_policy,
        settings.service_job,
        settings.service_tags,
    )
    needs_allocations = settings.health_check == "nomad"
    found: dict[Endpoint, ServerOptions] = {}
    allocations: dict[Endpoint, tuple[int, str]] = {}
    origins: dict[Endpoint, tuple[int, Origin]] = {}
    names: dict[str, str] = {}
    jobs: set[str] = set()
    refused = skipped = invalid_tags = 0
    reasons: dict[str, None] = {}
    for row in rows:
        if not isinstance(row, dict):
            refused += 1
            continue
        is_selected = _is_selected(row, job, required_tags)
        if not is_selected:
            skipped += is_selected is False
            refused += is_selected is None
            continue
        endpoint = validate(row.get("Address"), row.get("Port"), address_policy)
        if endpoint is None:
            refused += 1
            if len(reasons) < MAX_REASONS:
                reasons[why_refused(row.get("Address"), row.get("Port"), address_policy)] = None
            continue
        if endpoint is OURS:
            skipped += 1
            if len(reasons) < MAX_REASONS:
                reasons[_why_own(row)] = None
            continue
        options, invalid = tags.parse(row.get("Tags"))
        invalid_tags += invalid
        known = found.get(endpoint)
        found[endpoint] = (
            options if known is None or known == options else known.merged_with(options)
        )
        name = row.get("JobID")
        if name and isinstance(name, str):
            jobs.add(name)
        _record_origin(origins, endpoint, row, names)
        if needs_allocations:
            _record_allocation(allocations, endpoint, row)
    endpoints, over_limit = cap(found, settings.max_endpoints)
    return Selection(
        endpoints,
        {endpoint: found[endpoint] for endpoint in endpoints if found[endpoint] != _DEFAULT},
        {endpoint: allocations[endpoint][1] for endpoint in endpoints if endpoint in allocations},
        {endpoint: origins[endpoint][1] for endpoint in endpoints if any(origins[endpoint][1])},
        refused=refused,
        over_limit=over_limit,
        skipped=skipped,
        invalid_tags=invalid_tags,
        reasons=tuple(reasons),
        jobs=() if job else tuple(name[:_MAX_JOB_LENGTH] for name in sorted(jobs)[:_MAX_JOBS]),
        unselected=Unselected() if found else _unselected(rows, settings),
    )


def _why_own(row: dict[object, object]) -> str:
    """Return why the balancer's own address is a mistake among other instances."""
    return (
        f"{row.get('Address')}:{row.get('Port')} is this balancer itself: let it register another"
        " service than the replicas (two such balancers would send requests in a circle)"
    )


def _unselected(rows: Sequence[object], settings: Settings) -> Unselected:
    """Describe rows without an endpoint among them: what they have instead of what is required."""
    job, required_tags = settings.service_job, settings.service_tags
    jobs, row_tags, own = set[str](), set[str](), 0
    for row in rows:
        if not isinstance(row, dict):
            continue
        name, listed = row.get("JobID"), row.get("Tags")
        if job and name != job:
            jobs.add(_printable(name, _MAX_JOB_LENGTH))
        elif _is_selected(row, job, required_tags):
            own += validate(row.get("Address"), row.get("Port"), settings.address_policy) is OURS
        elif isinstance(listed, list):
            row_tags.update(_printable(tag, _MAX_TAG_LENGTH) for tag in listed)
    return Unselected(
        len(rows),
        tuple(sorted(jobs - {""})[:_MAX_JOBS]),
        tuple(sorted(row_tags - {""})[:_MAX_TAGS]),
        own,
    )


def _printable(text: object, length: int) -> str:
    """Return the beginning of a text of the registry, for messages; empty if it is no text."""
    if not isinstance(text, str):
        return ""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:length])


def _is_selected(
    row: dict[object, object], job: str, required_tags: tuple[str, ...]
) -> bool | None:
    """Return whether a row is of the job and has all the tags; None if the row is malformed."""
    if job:
        name = row.get("JobID")
        if not isinstance(name, str):
            return None
        if name != job:
            return False
    if required_tags:
        row_tags = row.get("Tags")
        if row_tags is None:  # Nomad's value for an instance without tags
            return False
        if not isinstance(row_tags, list):
            return None
        for tag in required_tags:
            if tag not in row_tags:
                return False
    return True


def _record_origin(
    origins: dict[Endpoint, tuple[int, Origin]],
    endpoint: Endpoint,
    row: dict[object, object],
    names: dict[str, str],
) -> None:
    """
    Record where an endpoint's instance runs: the newer one if an address and port were reused.

    `names` holds each text once, as it is shown: few nodes and jobs have many instances.
    """
    index = row.get("CreateIndex")
    age = index if type(index) is int else 0
    known = origins.get(endpoint)
    if known is None or age > known[0]:
        origin = Origin(
            _shown(row.get("AllocID")),
            _shown_once(row.get("NodeID"), names),
            _shown_once(row.get("JobID"), names),
        )
        origins[endpoint] = (age, origin)


def _shown_once(text: object, names: dict[str, str]) -> str:
    if not isinstance(text, str):
        return ""
    known = names.get(text)
    if known is None:
        known = names[text] = _shown(text)
    return known


def _shown(text: object) -> str:
    """Return a text of the registry that may be shown on a terminal, else an empty one."""
    return text[:_MAX_JOB_LENGTH] if isinstance(text, str) and text.isprintable() else ""


def _record_allocation(
    allocations: dict[Endpoint, tuple[int, str]], endpoint: Endpoint, row: dict[object, object]
) -> None:
    """Record an endpoint's allocation: the newer one if an address and port were reused."""
    name, index = row.get("AllocID"), row.get("CreateIndex")
    if isinstance(name, str) and _UUID.fullmatch(name):
        claim = (index if type(index) is int else 0, name)
        known = allocations.get(endpoint)
        if known is None or claim > known:
            allocations[endpoint] = claim
