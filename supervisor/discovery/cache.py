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
from supervisor.system.regular_file import read_regular
from supervisor.system.state_file import replace_json

FILE = "endpoints.json"

#: The end of the year 9999 in epoch seconds; a later time means a damaged file.
_MAX_INSTANT = 253402300800
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
        replace_json(self._folder, FILE, content, durable=False)

    def read(self) -> tuple[dict[str, CachedEndpoints], str]:
        """
        Read an earlier process's file: the endpoints, and why it cannot be used.

        A missing file and one of another query are empty without a reason.
        """
        path = self._folder / FILE
        try:
            found = json.loads(read_regular(path, _MAX_BYTES))
            if found["query"] != self._query:
                return {}, ""
            now = time.time()
            caches = {
                str(name): self._parse(entry["endpoints"], _age(entry["answered_at"], now))
                for name, entry in found["sources"].items()
            }
        except FileNotFoundError:
            return {}, ""
        except OSError as error:
            return {}, f"cannot use {path}: {error.strerror}; waiting for the sources"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            text = f"{type(error).__name__}: {error}"
            return {}, f"cannot use {path}: {text}; waiting for the sources"
        return caches, ""

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
        return CachedEndpoints(tuple(sorted(endpoints)), server_options, frozenset(ready), age)


def _age(answered_at: object, now: float) -> float:
    """Return the age of an answer in seconds.  Raises ValueError for an impossible time."""
    if not isinstance(answered_at, int | float) or not 0 <= answered_at < _MAX_INSTANT:
        raise ValueError("answered_at is not a time")
    return max(0.0, now - answered_at)
