"""
Endpoints that somebody lists: in the environment, or in a file that any tool may write.

A file is read again when it changes and at SIGHUP.  Host names are resolved here and never by
nginx, whose master would stand still for a dead name server; a name that cannot be resolved keeps
the addresses it had.
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

#: How often the file's state is looked at, and names are resolved anew.  In seconds.
_LOOK = 0.2
_RESOLVE = 5.0

#: An empty list is believed when it still is empty after this long, in seconds.
_DOUBT = 1.05
_RETRY = 1.0
_LARGEST = 8 * 1024 * 1024


class StaticSource:
    """
    The thread that follows a list.
    """

    def __init__(
        self, name: str, read: "Listing", settings: Settings, post: Callable[[Event], None]
    ) -> None:
        self.name = name
        self._listing = read
        self._settings = settings
        self._post = post
        self._again = threading.Event()
        self._resolved: dict[str, list[str]] = {}

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._follow, name=self.name, daemon=True).start()

    def requery(self) -> None:
        """Read again now."""
        self._again.set()

    def _follow(self) -> None:
        believes_empty = False
        while True:
            self._again.clear()
            stamp = self._listing.stamp()
            try:
                found, names = self._read()
            except (OSError, ValueError) as error:
                self._post(DiscoveryFailed(self.name, str(error), _RETRY))
                self._await_change(stamp, _RETRY)
                continue
            believes_empty = not found.endpoints and believes_empty
            if found.endpoints or believes_empty:
                self._post(found)
                self._await_change(stamp, _RESOLVE if names else None)
            else:
                self._post(replace(found, confirmed=False))
                believes_empty = not self._await_change(stamp, _DOUBT)

    def _read(self) -> tuple[SnapshotArrived, bool]:
        """Read the list: what it says, and whether there are names in it.  Raises OSError too."""
        sites, refused = self._listing.read()
        endpoints: set[Endpoint] = set()
        skipped, names = 0, False
        for site in sites:
            is_name = read_address(site.host) is None
            names = names or is_name
            addresses = self._resolve(site.host) if is_name else [site.host]
            admitted = {
                validate(address, site.port, self._settings.address_policy) for address in addresses
            }
            found = {endpoint for endpoint in admitted if isinstance(endpoint, Endpoint)}
            endpoints |= found
            if not found:
                skipped += OURS in admitted
                refused += OURS not in admitted
        if refused and not endpoints and not skipped:
            raise ValueError(
                f"none of the {refused} listed endpoints may be served or could be resolved"
            )
        kept, over_limit = cap(endpoints, self._settings.max_endpoints)
        told = SnapshotArrived(
            self.name, kept, refused=refused, over_limit=over_limit, skipped=skipped
        )
        return told, names

    def _resolve(self, host: str) -> list[str]:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            self._resolved[host] = sorted({str(entry[4][0]) for entry in found})
        except (OSError, UnicodeError):
            pass
        return self._resolved.get(host, [])

    def _await_change(self, stamp: object, at_most: float | None) -> bool:
        """Wait until the list may have changed; tell whether it did before the time was over."""
        waited = 0.0
        while at_most is None or waited < at_most:
            pause = _LOOK if at_most is None else min(_LOOK, at_most - waited)
            if self._again.wait(pause if self._listing.can_change or at_most is not None else None):
                return True
            if self._listing.stamp() != stamp:
                return True
            waited += pause
        return False


class Listing:
    """
    A list of sites: where it is read from, and whether it can change.
    """

    def __init__(self, path: str = "", sites: Iterable[HostPort] = ()) -> None:
        self._path = path
        self._sites = list(sites)
        self.can_change = bool(path)

    def stamp(self) -> object:
        """Return something that differs when the list may have changed."""
        if not self._path:
            return None
        try:
            found = Path(self._path).stat()
        except OSError as error:
            return error.errno
        return found.st_mtime_ns, found.st_ino, found.st_size

    def read(self) -> tuple[list[HostPort], int]:
        """Return the sites, and how many lines are none.  Raises OSError."""
        if not self._path:
            return self._sites, 0
        try:
            with Path(self._path).open("rb") as file:
                text = file.read(_LARGEST + 1)
        except OSError as error:
            raise OSError(
                f"cannot read ENDPOINTS_FILE={self._path!r}: {error.strerror}; trying again"
            ) from None
        if len(text) > _LARGEST:
            raise OSError(f"cannot use ENDPOINTS_FILE={self._path!r}: longer than {_LARGEST} bytes")
        sites, refused = [], 0
        for line in text.decode(errors="replace").splitlines():
            entry = line.partition("#")[0].strip()
            if entry:
                try:
                    sites.append(parse_host_port(entry))
                except ValueError:
                    refused += 1
        return sites, refused


def from_file(path: str) -> Listing:
    """List what a file holds, one `host:port` a line; `#` begins a comment."""
    return Listing(path=path)


def fixed(sites: Iterable[HostPort]) -> Listing:
    """List what the settings hold."""
    return Listing(sites=sites)
