"""
The query for the services that may be meant instead of one that is not registered.

Every outcome is posted as an event.
"""

from collections.abc import Callable
from contextlib import closing

from supervisor.core import missing_service
from supervisor.core.config.settings import Settings
from supervisor.core.events import Event, ServicesListed
from supervisor.nomad.api import ServiceNamesQuery
from supervisor.nomad.errors import NomadError
from supervisor.nomad.in_thread import post_outcome

#: How many other namespaces are reported.
_MAX_NAMESPACES = 5


class ServiceFinder:
    """
    Lists services on request and posts those that may be meant; it uses no resources before.
    """

    def __init__(
        self,
        settings: Settings,
        post: Callable[[Event], None],
        redact: Callable[[list[str]], None],
    ) -> None:
        self._settings = settings
        self._post = post
        self._redact = redact

    def find(self, service: str) -> None:
        """Look for this service.  Answered by ServicesListed."""
        post_outcome(
            "services",
            lambda: self._find(service),
            lambda error: ServicesListed(service, error=error.reason),
            self._post,
        )

    def _find(self, service: str) -> ServicesListed:
        with closing(ServiceNamesQuery(self._settings, self._redact)) as client:
            return self._query(client, service)

    def _query(self, client: ServiceNamesQuery, service: str) -> ServicesListed:
        own = self._settings.nomad_namespace
        names = [name for _, name in client.list_names(own)]
        near = missing_service.near(service, names)
        try:
            everywhere = client.list_names("*")
        except NomadError:  # the token may read its own namespace only
            everywhere = []
        others = sorted({place for place, name in everywhere if name == service} - {own})
        return ServicesListed(service, near, tuple(others[:_MAX_NAMESPACES]))
