"""
Probes: the sense that tells which endpoints are ready, whatever the registry says.

Nobody else does: Nomad lists instances before they listen, and a crashed one while it waits to be
restarted.  A probe's own trouble is never the endpoint's, and nothing here acts on what it learns.
"""

from collections.abc import Callable
from typing import Protocol

from supervisor.core.commands import SetProbeTargets
from supervisor.core.config.settings import Settings
from supervisor.core.events import Event
from supervisor.health.prober import Prober

__all__ = ["Probing", "prober"]


class HealthChecker(Protocol):
    """
    What the loop needs of the probes.
    """

    def start(self) -> None:
        """Begin to probe whatever is watched."""

    def watch(self, order: SetProbeTargets) -> None:
        """Probe these from now on, and no others."""


def prober(
    settings: Settings, post: Callable[[Event], None], redact: Callable[[list[str]], None]
) -> HealthChecker:
    """
    Build the probes that the settings name; `redact` is told every token that is read.
    """
    if settings.health_check == "nomad":
        # Few ask for it, and memory is a promise to all.
        from supervisor.health.nomad_checks import NomadChecker  # noqa: PLC0415

        return NomadChecker(settings, post, redact)
    return Prober(settings, post)
