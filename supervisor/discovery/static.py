"""
Endpoints from a list in the environment, or from a file that another tool may write.

A file is read again when it changes and at SIGHUP.  Host names are resolved here and never by
nginx, whose master would block on an unreachable name server; a name that cannot be resolved keeps
its previous addresses.
"""

import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from supervisor.core.addresses import OURS, HostPort, cap, parse_host_port, read_address, validate
from supervisor.core.config.settings import Settings
from supervisor.core.events import DiscoveryFailed, Event, SnapshotArrived
from supervisor.core.model import Endpoint
from supervisor.system.regular_file import read_regular

#: How often the file is checked for changes, and names are resolved again.  In seconds.
_CHECK_INTERVAL = 0.2
_RESOLVE_INTERVAL = 5.0

#: An empty list is accepted if it is still empty after this time, in seconds.
_EMPTY_CONFIRM_DELAY = 1.05
_RETRY_INTERVAL = 1.0
_MAX_BYTES = 8 * 1024 * 1024


class StaticSource:
    """
    The thread that follows a list.
    """

    def __init__(
        self, name: str, listing: "Listing", settings: Settings, post: Callable[[Event], None]
    ) -> None:
        self.name = name
        self._listing = listing
        self._settings = settings
        self._post = post
        self._requery_event = threading.Event()
        self._resolved: dict[str, list[str]] = {}

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name=self.name, daemon=True).start()

    def requery(self) -> None:
        """Read again now."""
        self._requery_event.set()

    def _run(self) -> None:
        confirmed_empty = False
        while True:
            self._requery_event.clear()
            stamp = self._listing.stamp()
            try:
                found, has_names = self._read()
            except (OSError, ValueError) as error:
                self._post(DiscoveryFailed(self.name, str(error), _RETRY_INTERVAL))
                self._await_change(stamp, _RETRY_INTERVAL)
                continue
            confirmed_empty = not found.endpoints and confirmed_empty
            if found.endpoints or confirmed_empty:
                self._post(found)
                self._await_change(stamp, _RESOLVE_INTERVAL if has_names else None)
            else:
                self._post(replace(found, confirmed=False))
                confirmed_empty = not self._await_change(stamp, _EMPTY_CONFIRM_DELAY)

    def _read(self) -> tuple[SnapshotArrived, bool]:
        """
        Read the list: return its endpoints, and whether it contains names.

        Raises OSError and ValueError.
        """
        entries, refused = self._listing.read()
        endpoints: set[Endpoint] = set()
        skipped, has_names = 0, False
        for entry in entries:
            is_name = read_address(entry.host) is None
            has_names = has_names or is_name
            addresses = self._resolve(entry.host) if is_name else [entry.host]
            validated = {
                validate(address, entry.port, self._settings.address_policy)
                for address in addresses
            }
            found = {endpoint for endpoint in validated if isinstance(endpoint, Endpoint)}
            endpoints |= found
            if not found:
                skipped += OURS in validated
                refused += OURS not in validated
        if refused and not endpoints and not skipped:
            raise ValueError(
                f"none of the {refused} listed endpoints may be served or could be resolved"
            )
        kept, over_limit = cap(endpoints, self._settings.max_endpoints)
        snapshot = SnapshotArrived(
            self.name, kept, refused=refused, over_limit=over_limit, skipped=skipped
        )
        return snapshot, has_names

    def _resolve(self, host: str) -> list[str]:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            self._resolved[host] = sorted({str(entry[4][0]) for entry in found})
        except (OSError, UnicodeError):
            pass
        return self._resolved.get(host, [])

    def _await_change(self, stamp: object, timeout: float | None) -> bool:
        """Wait until the list may have changed; return whether it did before the timeout."""
        waited = 0.0
        while timeout is None or waited < timeout:
            pause = _CHECK_INTERVAL if timeout is None else min(_CHECK_INTERVAL, timeout - waited)
            if self._requery_event.wait(
                pause if self._listing.can_change or timeout is not None else None
            ):
                return True
            if self._listing.stamp() != stamp:
                return True
            waited += pause
        return False


class Listing:
    """
    A list of endpoints, from a file or fixed.
    """

    def __init__(self, path: str = "", entries: Iterable[HostPort] = ()) -> None:
        self._path = path
        self._entries = list(entries)
        self.can_change = bool(path)

    def stamp(self) -> object:
        """Return a value that differs if the list may have changed."""
        if not self._path:
            return None
        try:
            found = Path(self._path).stat()
        except OSError as error:
            return error.errno
        return found.st_mtime_ns, found.st_ino, found.st_size

    def read(self) -> tuple[list[HostPort], int]:
        """Return the entries, and how many lines are invalid.  Raises OSError."""
        if not self._path:
            return self._entries, 0
        try:
            data = read_regular(self._path, _MAX_BYTES, follow=True)
        except OSError as error:
            raise OSError(
                f"cannot read ENDPOINTS_FILE={self._path!r}: {error.strerror}; retrying"
            ) from None
        entries, refused = [], 0
        for line in data.decode(errors="replace").splitlines():
            text = line.partition("#")[0].strip()
            if text:
                try:
                    entries.append(parse_host_port(text))
                except ValueError:
                    refused += 1
        return entries, refused


def list_file(path: str) -> Listing:
    """Build a list from a file: one `host:port` a line; `#` starts a comment."""
    return Listing(path=path)


def list_fixed(entries: Iterable[HostPort]) -> Listing:
    """Build a list from the settings."""
    return Listing(entries=entries)
