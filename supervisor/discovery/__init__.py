"""
Sources of endpoints: one for each Nomad service, or one for a static list or file.

A source is a thread that posts its results and never ends the program, whatever error occurs.
"""

from collections.abc import Callable
from typing import Protocol

from supervisor.core.config.settings import Settings
from supervisor.core.events import Event
from supervisor.discovery.nomad import NomadSource
from supervisor.discovery.static import StaticSource, list_file, list_fixed


class Source(Protocol):
    """
    The interface of a source, as used by the loop.
    """

    name: str

    def start(self) -> None:
        """Start the thread."""

    def requery(self) -> None:
        """Query again now, ignoring what is cached."""


def sources(
    settings: Settings, post: Callable[[Event], None], redact: Callable[[list[str]], None]
) -> list[Source]:
    """
    Build the sources that the settings configure; each token read is passed to `redact`.
    """
    if settings.endpoints_file:
        return [StaticSource("file", list_file(settings.endpoints_file), settings, post)]
    if settings.endpoints:
        return [StaticSource("static", list_fixed(settings.endpoints), settings, post)]
    return [NomadSource(service, settings, post, redact) for service in settings.service_name]
