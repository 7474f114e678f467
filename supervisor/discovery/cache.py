"""
The sources' endpoints, stored in RUNTIME_DIR for a restart while the registry is unavailable.

The file is not synced to disk: it need not survive the machine.  Its content is validated like a
response of the registry, and is used only if it belongs to the same query.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from supervisor.core.addresses import validate
from supervisor.core.config.settings import Settings
from supervisor.core.model import CachedEndpoints, Endpoint, ServerOptions
from supervisor.system.state_file import replace_json

_FILE = "endpoints.json"
_MAX_BYTES = 64 * 1024 * 1024


class EndpointCache:
    """
    The cache file; its times are epoch seconds.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings
        self._query = [
            settings.nomad_region,
            settings.nomad_namespace,
            settings.service_job,
            *settings.service_tags,
        ]

    def save(self, caches: Mapping[str, CachedEndpoints]) -> None:
        """Write the current endpoints of all sources.  Raises OSError."""
        now = time.time()
        sources = {
            name: {
                "answered_at": now - cached.age,
                "endpoints": [
                    [
                        *endpoint,
                        *cached.server_options.get(endpoint, ServerOptions()),
                        endpoint in cached.ready,
                    ]
                    for endpoint in cached.endpoints
                ],
            }
            for name, cached in caches.items()
        }
        content: dict[str, object] = {"query": self._query, "sources": sources}
        replace_json(self._folder, _FILE, content, durable=False)

    def read(self) -> dict[str, CachedEndpoints]:
        """Read an earlier process's file; empty if it is missing, damaged or of another query."""
        try:
            with (self._folder / _FILE).open("rb") as file:
                found = json.loads(file.read(_MAX_BYTES))
            if found["query"] != self._query:
                return {}
            now = time.time()
            return {
                str(name): self._parse(entry["endpoints"], now - float(entry["answered_at"]))
                for name, entry in found["sources"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def _parse(self, rows: list[list[object]], age: float) -> CachedEndpoints:
        server_options, ready, endpoints = {}, set(), list[Endpoint]()
        for host, port, weight, backup, drain, was_ready in rows:
            endpoint = validate(host, port, self._settings.address_policy)
            if (
                not isinstance(endpoint, Endpoint)
                or type(weight) is not int
                or weight not in range(1, 1001)
            ):
                continue
            endpoints.append(endpoint)
            options = ServerOptions(weight, backup is True, drain is True)
            if options != ServerOptions():
                server_options[endpoint] = options
            if was_ready is True:
                ready.add(endpoint)
        return CachedEndpoints(
            tuple(sorted(endpoints)), server_options, frozenset(ready), max(0.0, age)
        )
