"""
Endpoints from a list in the environment, or from a file that another tool may write.

A file is read again when it changes and at SIGHUP.  Host names are resolved by `resolver` and never
by nginx, whose master would block on an unreachable name server.  Addresses do not wait for names.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from supervisor.core.addresses import (
    OURS,
    HostPort,
    cap,
    parse_host_port,
    quoted,
    read_address,
    validate,
    why_refused,
)
from supervisor.core.config.settings import Settings
from supervisor.core.events import DiscoveryFailed, Event, SnapshotArrived
from supervisor.core.model import Endpoint, Unselected
from supervisor.discovery.resolver import Resolver
from supervisor.discovery.selection import MAX_REASONS
from supervisor.system.regular_file import read_regular

#: How often the file is checked for changes, and names are resolved again.  In seconds.
_CHECK_INTERVAL = 0.2
_RESOLVE_INTERVAL = 5.0

#: How long the first lookup of a name is awaited, in seconds: so that a list usually arrives at
#: once, and without any address so that a slow name server is not reported as a failure.
_NAMES_WAIT = 0.5
_ONLY_NAMES_WAIT = 3.0

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
        self._resolver = Resolver(self._requery_event.set)
        self._resolve_at = 0.0
        self._names: set[str] = set()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name=self.name, daemon=True).start()

    def requery(self) -> None:
        """Read and resolve again now."""
        self._resolve_at = 0.0
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
                self._resolve_at = 0.0
                self._await_change(stamp, _RETRY_INTERVAL)
                continue
            confirmed_empty = not found.endpoints and confirmed_empty
            if found.endpoints or confirmed_empty:
                self._post(found)
                left = max(0.0, self._resolve_at - time.monotonic())
                self._await_change(stamp, left if has_names else None)
            else:
                self._post(replace(found, confirmed=False))
                confirmed_empty = not self._await_change(stamp, _EMPTY_CONFIRM_DELAY)

    def _read(self) -> tuple[SnapshotArrived, bool]:
        """
        Read the list: return its endpoints, and whether it contains names.

        Raises OSError and ValueError.
        """
        entries, invalid = self._listing.read()
        refused, reasons = len(invalid), dict.fromkeys(invalid)
        endpoints: set[Endpoint] = set()
        skipped = 0
        names = {entry.host for entry in entries if read_address(entry.host) is None}
        self._resolve(names, only_names=all(entry.host in names for entry in entries))
        for entry in entries:
            is_name = entry.host in names
            addresses = self._resolver.addresses(entry.host) if is_name else [entry.host]
            validated = {
                validate(address, entry.port, self._settings.address_policy)
                for address in addresses
            }
            found = {endpoint for endpoint in validated if isinstance(endpoint, Endpoint)}
            endpoints |= found
            if not found:
                skipped += OURS in validated
                refused += OURS not in validated
                if OURS not in validated:
                    reasons[self._why_refused(entry, addresses)] = None
        first = tuple(reasons)[:MAX_REASONS]
        if refused and not endpoints and not skipped:
            what = "the only endpoint" if refused == 1 else f"any of the {refused} endpoints"
            raise ValueError(f"cannot serve {what} of {self._listing.name}: {'; '.join(first)}")
        kept, over_limit = cap(endpoints, self._settings.max_endpoints)
        snapshot = SnapshotArrived(
            self.name,
            kept,
            refused=refused,
            over_limit=over_limit,
            skipped=skipped,
            unselected=Unselected() if kept else Unselected(listed=skipped, own=skipped),
            reasons=first,
        )
        return snapshot, bool(names)

    def _resolve(self, names: set[str], *, only_names: bool) -> None:
        """Resolve names if that is due, and wait for new ones, but not for long."""
        new, self._names = names - self._names, names
        now = time.monotonic()
        if now >= self._resolve_at:
            self._resolver.refresh(sorted(names))
            self._resolve_at = now + _RESOLVE_INTERVAL
        elif new:
            self._resolver.refresh(sorted(new))
        if new:
            self._resolver.wait(new, _ONLY_NAMES_WAIT if only_names else _NAMES_WAIT)

    def _why_refused(self, entry: HostPort, addresses: list[str]) -> str:
        if not addresses:
            return f"cannot resolve the name {quoted(entry.host)}"
        why = why_refused(addresses[0], entry.port, self._settings.address_policy)
        return why if addresses == [entry.host] else f"{quoted(entry.host)}: {why}"

    def _await_change(self, stamp: object, timeout: float | None) -> bool:
        """Wait until the list may have changed; return whether it did before the timeout."""
        if not self._listing.can_change:
            return self._requery_event.wait(timeout)
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _CHECK_INTERVAL if until is None else until - time.monotonic()
            if left <= 0:
                return False
            if self._requery_event.wait(min(_CHECK_INTERVAL, left)):
                return True
            if self._listing.stamp() != stamp:
                return True


class Listing:
    """
    A list of endpoints, from a file or fixed.
    """

    def __init__(self, path: str = "", entries: Iterable[HostPort] = ()) -> None:
        self._path = path
        self._entries = list(entries)
        self.can_change = bool(path)
        #: The setting and its value, for messages.
        self.name = f"ENDPOINTS_FILE={path!r}" if path else "ENDPOINTS"

    def stamp(self) -> object:
        """Return a value that differs if the list may have changed."""
        if not self._path:
            return None
        try:
            found = Path(self._path).stat()
        except OSError as error:
            return error.errno
        return found.st_mtime_ns, found.st_ino, found.st_size

    def read(self) -> tuple[list[HostPort], list[str]]:
        """Return the entries, and what is wrong with each invalid line.  Raises OSError."""
        if not self._path:
            return self._entries, []
        try:
            data = read_regular(self._path, _MAX_BYTES, follow=True)
        except OSError as error:
            raise OSError(
                f"cannot read ENDPOINTS_FILE={self._path!r}: {error.strerror}; retrying"
            ) from None
        entries, invalid = [], []
        for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
            text = line.partition("#")[0].strip()
            if text:
                try:
                    entries.append(parse_host_port(text))
                except ValueError:
                    invalid.append(f"line {number} is not host:port: {quoted(text)}")
        return entries, invalid


def list_file(path: str) -> Listing:
    """Build a list from a file: one `host:port` a line; `#` starts a comment."""
    return Listing(path=path)


def list_fixed(entries: Iterable[HostPort]) -> Listing:
    """Build a list from the settings."""
    return Listing(entries=entries)
