"""
Where endpoints are learned: one source for each service, or one for a list or a file.

A source is a thread that posts what it learns and never ends the program, whatever it meets.
"""

from collections.abc import Callable
from typing import Protocol

from supervisor.core.config.settings import Settings
from supervisor.core.events import Event
from supervisor.discovery.nomad import NomadSource
from supervisor.discovery.static import StaticSource, fixed, from_file


class Source(Protocol):
    """
    What the loop needs of a source.
    """

    name: str

    def start(self) -> None:
        """Begin to ask."""

    def requery(self) -> None:
        """Ask again now, as if nothing were known."""


def sources(
    settings: Settings, post: Callable[[Event], None], redact: Callable[[list[str]], None]
) -> list[Source]:
    """
    Build the sources that the settings name; `redact` is told every token that is read.
    """
    if settings.endpoints_file:
        return [StaticSource("file", from_file(settings.endpoints_file), settings, post)]
    if settings.endpoints:
        return [StaticSource("static", fixed(settings.endpoints), settings, post)]
    return [NomadSource(service, settings, post, redact) for service in settings.service_name]
