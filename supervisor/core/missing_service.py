"""
Why a source lists no endpoints, and the next step.

An empty list is what Nomad returns for a misspelt name, for a wrong namespace, for a service that
is registered in Consul, and for one that is scaled to zero; what is registered tells them apart.
"""

from collections.abc import Iterable
from typing import NamedTuple

from supervisor.core.config.settings import Settings
from supervisor.core.events import ServicesListed
from supervisor.core.model import Unselected

#: The prefix of the names of sources that are services.
_PREFIX = "nomad:"

#: How many names are reported as near, and how similar a name must be.
_MAX_NEAR = 5
_MIN_SIMILARITY = 0.6


class Cause(NamedTuple):
    """
    Why there are no endpoints, and what to do.
    """

    reason: str
    hint: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.hint}"


def service_of(source: str) -> str:
    """
    Return the name of a source's service, empty for a list and a file.
    """
    return source.removeprefix(_PREFIX) if source.startswith(_PREFIX) else ""


def of_unselected(source: str, unselected: Unselected, settings: Settings) -> Cause:
    """
    Return the cause if a source lists instances of which none is selected.
    """
    service = service_of(source)
    if not service:
        return _of_list(unselected, settings)
    count, namespace = unselected.listed, settings.nomad_namespace
    noun = "instance" if count == 1 else "instances"
    listed = f"{count} {noun} of service {service!r} listed in namespace {namespace!r}"
    if unselected.own and not unselected.jobs and not unselected.tags:
        return Cause(
            f"{listed}, with the balancer's own address",
            "let the replicas register another service than the balancer",
        )
    if unselected.jobs:
        return Cause(
            f"{listed}, none of job {settings.service_job!r} (SERVICE_JOB); their jobs:"
            f" {', '.join(unselected.jobs)}",
            "set SERVICE_JOB to one of these IDs, or remove it",
        )
    required = ",".join(settings.service_tags)
    carried = ", ".join(unselected.tags) or "none"
    return Cause(
        f"{listed}, none with all of SERVICE_TAGS={required}; their tags: {carried}",
        "correct SERVICE_TAGS, or `tags` in the replicas' service block",
    )


def of_nothing(source: str, found: ServicesListed, settings: Settings) -> Cause:
    """
    Return the cause if a service is not registered, with what is registered instead.
    """
    namespace = settings.nomad_namespace
    reason = (
        f"no instance of service {service_of(source)!r} is registered in namespace {namespace!r}"
    )
    provider = 'the service block of the replicas needs provider = "nomad" (the default is Consul)'
    if found.namespaces:
        other = ", ".join(found.namespaces)
        return Cause(f"{reason}, but in {other}", "set NOMAD_NAMESPACE, or run the replicas there")
    if found.near:
        return Cause(reason, f"registered there: {', '.join(found.near)}; else {provider}")
    if found.error:
        return Cause(reason, f"{provider}; other services cannot be listed: {found.error}")
    return Cause(reason, f"check SERVICE_NAME, NOMAD_NAMESPACE, and that replicas run; {provider}")


def near(service: str, registered: Iterable[str]) -> tuple[str, ...]:
    """
    Return the names that may be meant: similar ones, or all if they are few.
    """
    names = sorted({name for name in registered if name.isprintable()} - {service})
    wanted = service.casefold()
    contained = [
        each
        for each in names
        if wanted in each.casefold() or (len(each) > 2 and each.casefold() in wanted)
    ]
    # Imported only here because it takes 0.2 MB and is rarely needed.
    from difflib import get_close_matches  # noqa: PLC0415

    by_folded = {name.casefold(): name for name in names}
    close = get_close_matches(wanted, by_folded, _MAX_NEAR, _MIN_SIMILARITY)
    found = list(dict.fromkeys([*(by_folded[each] for each in close), *contained]))
    if not found and len(names) <= _MAX_NEAR:
        found = names
    return tuple(found[:_MAX_NEAR])


def _of_list(unselected: Unselected, settings: Settings) -> Cause:
    where = (
        f"ENDPOINTS_FILE={settings.endpoints_file!r}" if settings.endpoints_file else "ENDPOINTS"
    )
    if unselected.own:
        return Cause(
            f"{where} lists only the balancer's own address", "list the addresses of the replicas"
        )
    return Cause(f"{where} lists no endpoints", "write one host:port per line")
