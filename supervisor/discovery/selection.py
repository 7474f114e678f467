"""
Which rows of a service are ours to serve, and how: the registry's answer becomes knowledge here.

Three things happen to a row.  It is *refused* when it makes no sense or names a place that must
not get traffic; it is *passed over* when it makes sense and is not for us (another job's, without
a tag that was asked for, or our own address); else it is an endpoint.  The difference matters: an
answer whose rows are all refused teaches nothing, one whose rows are passed over does.

Pure, and quick: ten thousand rows are an ordinary answer to a query that many changes end.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from supervisor.core.addresses import OURS, cap, validate
from supervisor.core.config.settings import Settings
from supervisor.core.model import Endpoint, ServerOptions
from supervisor.discovery import tags

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

#: Jobs that are named when a service has several, and how much of each name.
_JOBS_NAMED = 5
_JOB_LENGTH = 128

_USUAL = ServerOptions()


@dataclass(frozen=True, slots=True)
class Selection:
    """
    What one answer says: the fields are those of `SnapshotArrived`.

    Two are equal when they serve the same in the same way: that others come and go is no news.
    """

    endpoints: tuple[Endpoint, ...] = ()
    server_options: dict[Endpoint, ServerOptions] = field(default_factory=dict)
    allocations: dict[Endpoint, str] = field(default_factory=dict)
    refused: int = field(default=0, compare=False)
    over_limit: int = field(default=0, compare=False)
    skipped: int = field(default=0, compare=False)
    invalid_tags: int = field(default=0, compare=False)
    jobs: tuple[str, ...] = field(default=(), compare=False)

    @property
    def all_rejected(self) -> bool:
        """
        Tell whether every row that may have been for us was refused.
        """
        return bool(self.refused) and not self.endpoints


def select(rows: Iterable[object], settings: Settings) -> Selection:
    """
    Read the rows of a service, each by itself: a wrong one loses only itself.
    """
    address_policy, job, wanted = (
        settings.address_policy,
        settings.service_job,
        settings.service_tags,
    )
    asks_nomad = settings.health_check == "nomad"
    found: dict[Endpoint, ServerOptions] = {}
    allocations: dict[Endpoint, tuple[int, str]] = {}
    jobs: set[str] = set()
    refused = skipped = invalid_tags = 0
    for row in rows:
        if not isinstance(row, dict):
            refused += 1
            continue
        ours = _is_wanted(row, job, wanted)
        if not ours:
            skipped += ours is False
            refused += ours is None
            continue
        endpoint = validate(row.get("Address"), row.get("Port"), address_policy)
        if endpoint is None:
            refused += 1
            continue
        if endpoint is OURS:
            skipped += 1
            continue
        options, odd = tags.parse(row.get("Tags"))
        invalid_tags += odd
        known = found.get(endpoint)
        found[endpoint] = (
            options if known is None or known == options else known.merged_with(options)
        )
        name = row.get("JobID")
        if name and isinstance(name, str):
            jobs.add(name)
        if asks_nomad:
            _note_allocation(allocations, endpoint, row)
    endpoints, over_limit = cap(found, settings.max_endpoints)
    return Selection(
        endpoints,
        {endpoint: found[endpoint] for endpoint in endpoints if found[endpoint] != _USUAL},
        {endpoint: allocations[endpoint][1] for endpoint in endpoints if endpoint in allocations},
        refused=refused,
        over_limit=over_limit,
        skipped=skipped,
        invalid_tags=invalid_tags,
        jobs=() if job else tuple(name[:_JOB_LENGTH] for name in sorted(jobs)[:_JOBS_NAMED]),
    )


def _is_wanted(row: dict[object, object], job: str, wanted: tuple[str, ...]) -> bool | None:
    """Tell whether a row is of our job and has all our tags; None when it cannot be told."""
    if job:
        name = row.get("JobID")
        if not isinstance(name, str):
            return None
        if name != job:
            return False
    if wanted:
        given = row.get("Tags")
        if given is None:  # what Nomad says of an instance without tags
            return False
        if not isinstance(given, list):
            return None
        for tag in wanted:
            if tag not in given:
                return False
    return True


def _note_allocation(
    allocations: dict[Endpoint, tuple[int, str]], endpoint: Endpoint, row: dict[object, object]
) -> None:
    """Remember whose endpoint it is: where an address and port were taken over, the newer one's."""
    name, index = row.get("AllocID"), row.get("CreateIndex")
    if isinstance(name, str) and _UUID.fullmatch(name):
        claim = (index if type(index) is int else 0, name)
        known = allocations.get(endpoint)
        if known is None or claim > known:
            allocations[endpoint] = claim
