"""
Who may become an endpoint: nothing from the registry is trusted.

An address is parsed and then written anew from its bytes, a port must be an int; no other text
of the registry ever reaches a config file.  Parse, don't escape: `ipaddress` accepts
`fe80::1%eth0; } evil {` and gives the payload back, and a registered address is a free string
that a job's author chose.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from supervisor.model import Endpoint

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PORT = re.compile(r"[0-9]{1,5}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")

#: NAT64 carries any IPv4 address inside an IPv6 one, the refused ones included.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_LOOPBACK = ("127.0.0.0/8", "::1/128")

#: Never served by default: "this network" (Linux may route it to itself), the metadata services of
#: clouds, link-local, multicast and reserved; of IPv6 also what stands for an IPv4 address.
_REFUSED = (
    *("0.0.0.0/8", "100.100.100.200/32", "169.254.0.0/16", "224.0.0.0/3"),
    *("::/96", "fd00:ec2::254/128", "fe80::/9", "ff00::/8"),
)


def _ranges(networks: Iterable[str]) -> dict[int, list[tuple[int, int]]]:
    """Return the first and last address of each network as numbers, by version: quick to test."""
    found: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    for network in map(ipaddress.ip_network, networks):
        found[network.version].append((int(network[0]), int(network[-1])))
    return found


_LOOPBACK_RANGES = _ranges(_LOOPBACK)
_REFUSED_RANGES = _ranges(_REFUSED)


@dataclass(frozen=True, slots=True)
class Rules:
    """
    Which addresses are let in: with `allow` just those networks, else all but the refused.

    `own` are the places where we can be reached ourselves: traffic would go round in circles.
    """

    allow: tuple[Network, ...] = ()
    loopback: bool = False
    own: frozenset[Endpoint] = frozenset()


@dataclass(frozen=True, slots=True)
class Site:
    """
    A place as a person wrote it: `host:port`, where the host may still be a name.
    """

    host: str
    port: int


def read_address(text: object) -> Address | None:
    """
    Return the address that a text means, or None; a zone id is refused, it cannot be served.
    """
    if not isinstance(text, str) or "%" in text:
        return None
    kind = ipaddress.IPv6Address if ":" in text else ipaddress.IPv4Address
    try:
        return kind(text)
    except ValueError:
        return None


def is_let_in(address: Address, rules: Rules) -> bool:
    """
    Decide whether traffic may be sent to an address; the one inside a mapped address counts.
    """
    inner: Address = address
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            inner = address.ipv4_mapped
        elif address in _NAT64:
            inner = ipaddress.IPv4Address(address.packed[-4:])
    if rules.allow:
        return any(inner in network for network in rules.allow)
    number = int(inner)
    for first, last in _LOOPBACK_RANGES[inner.version]:
        if first <= number <= last:
            return rules.loopback
    return not any(first <= number <= last for first, last in _REFUSED_RANGES[inner.version])


def admit(address: object, port: object, rules: Rules) -> Endpoint | None:
    """
    Turn what the registry says into an endpoint, or None when it is not to be served.
    """
    if type(port) is not int or not 0 < port < 65536:  # True is an int, and "80 " becomes one
        return None
    parsed = read_address(address)
    if parsed is None or not is_let_in(parsed, rules):
        return None
    if parsed.version == 6:
        parsed = ipaddress.IPv6Address(parsed.packed)  # the bytes alone, whatever else it carried
    return Endpoint(str(parsed), port)


def admit_rows(rows: Iterable[object], rules: Rules) -> tuple[set[Endpoint], int]:
    """
    Read the rows of a service: the endpoints let in, and how many rows were refused.
    """
    endpoints, refused = set(), 0
    for row in rows:
        found = None
        if isinstance(row, dict):
            found = admit(row.get("Address"), row.get("Port"), rules)
        if found is None:
            refused += 1
        else:
            endpoints.add(found)
    return endpoints, refused


def parse_site(text: str) -> Site:
    """
    Read `host:port`, `[ipv6]:port` or `name:port`; ValueError says what was expected.
    """
    text = text.strip()
    host, separator, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    address = read_address(host)
    named = bool(_HOST_NAME.fullmatch(host)) and ".." not in host and not bracketed
    known = address is not None or named
    if isinstance(address, ipaddress.IPv6Address) != bracketed:
        known = False
    if not separator or not known or not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise ValueError(
            f"expected host:port such as 10.0.0.5:8000 or [fd00::5]:8000, not {text!r}"
        )
    return Site(host, int(port))


def cap(endpoints: Iterable[Endpoint], limit: int) -> tuple[tuple[Endpoint, ...], int]:
    """
    Sort the endpoints and keep the first `limit`; return them and how many were left out.
    """
    ordered = tuple(sorted(endpoints))
    return ordered[:limit], max(0, len(ordered) - limit)
