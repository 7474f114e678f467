"""
The query for the services that may be meant instead of one that is not registered.

It runs in a thread of its own, because the loop must not block; the client bounds its duration.
Every outcome is posted as an event.
"""

import threading
from collections.abc import Callable

from supervisor.core import missing_service
from supervisor.core.config.settings import Settings
from supervisor.core.events import Event, ServicesListed
from supervisor.nomad.api import ServiceNamesQuery
from supervisor.nomad.errors import NomadError, no_thread_error

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
        thread = threading.Thread(target=self._find, args=(service,), name="services", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._post(ServicesListed(service, error=no_thread_error().reason))

    def _find(self, service: str) -> None:
        try:
            client = ServiceNamesQuery(self._settings, self._redact)
            try:
                found = self._query(client, service)
            finally:
                client.close()
        except NomadError as error:
            found = ServicesListed(service, error=error.reason)
        except Exception as error:  # noqa: BLE001 - the balancer continues after any error
            found = ServicesListed(service, error=f"internal error: {type(error).__name__}")
        self._post(found)

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
