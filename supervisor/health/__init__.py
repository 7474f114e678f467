"""
Health checks: which endpoints are ready, whatever the registry lists.

Nomad lists instances before they listen, and crashed ones while they wait to be restarted.  A local
error of a probe is never counted against the endpoint.  This package posts health changes and does
not act on them.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from supervisor.core.commands import ProbeNow, SetProbeTargets
from supervisor.core.config.settings import Settings
from supervisor.core.events import Event
from supervisor.core.model import Endpoint
from supervisor.core.probe_outcome import ProbeReport
from supervisor.health.prober import Prober

__all__ = ["HealthChecker", "prober"]


class HealthChecker(Protocol):
    """
    The interface of the health checks, as used by the loop.
    """

    def start(self) -> None:
        """Start the threads."""

    def watch(self, targets: SetProbeTargets) -> None:
        """Check these endpoints from now on, and no others."""

    def probe(self, suspects: ProbeNow) -> None:
        """Probe these at once, as far as they are checked."""

    def reports(self, endpoints: Iterable[Endpoint]) -> dict[Endpoint, ProbeReport]:
        """Return the last outcome of each of these that has one.  Thread-safe."""


def prober(
    settings: Settings, post: Callable[[Event], None], redact: Callable[[list[str]], None]
) -> HealthChecker:
    """
    Build the health checks that the settings configure; each token read is passed to `redact`.
    """
    if settings.health_check == "nomad":
        # Imported on demand: it is rarely used, and memory use is bounded.
        from supervisor.health.nomad_checks import NomadChecker  # noqa: PLC0415

        return NomadChecker(settings, post, redact)
    return Prober(settings, post)
