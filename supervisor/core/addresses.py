"""
Who may become an endpoint: nothing from the registry is trusted.

An address is parsed and then written anew from its bytes, a port must be an int; no other text
of the registry ever reaches a config file.  Parse, don't escape: `ipaddress` accepts
`fe80::1%eth0; } evil {` and gives the payload back, and a registered address is a free string
that a job's author chose.
"""

import ipaddress
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Literal

from supervisor.core.model import Endpoint

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: Four numbers as `ipaddress` takes them, read in half the time.
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_QUAD = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}")

_PORT = re.compile(r"[0-9]{1,5}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")

_LOOPBACK = ("127.0.0.0/8", "::1/128")

#: Never served by default: "this network" (Linux may route it to itself), the metadata services of
#: clouds (link-local, and a few elsewhere), multicast and reserved.  Of IPv6 also all that stands
#: for an IPv4 address, whatever that one is: mapped, NAT64 and what else begins with zeros, Teredo
#: and 6to4.  No replica is registered like that, and a gateway may turn it into a refused one.
_REFUSED = (
    *("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
    *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
    *("::/8", "2001::/32", "2002::/16", "fe80::/9", "ff00::/8"),
    *("fd00:ec2::/32", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128", "fd00:42::42/128"),
)

#: Where the IPv4 address stands in the IPv6 ones whose form is fixed, in bits from the right.
_CARRIERS = (
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("2002::/16"), 80),
)


def _borders(networks: Iterable[str]) -> dict[int, list[int]]:
    """
    Return by version where networks that do not touch begin and end, in order, as numbers.

    An address is in one when an odd number of borders lies at or below it.
    """
    found: dict[int, list[int]] = {4: [], 6: []}
    for network in map(ipaddress.ip_network, networks):
        found[network.version] += [int(network[0]), int(network[-1]) + 1]
    return {version: sorted(borders) for version, borders in found.items()}


_LOOPBACK_BORDERS = _borders(_LOOPBACK)
_REFUSED_BORDERS = _borders(_REFUSED)


class _Ours(Enum):
    """The one answer that is neither an endpoint nor a refusal."""

    OURS = "ours"


#: Said of an address and port where we answer ourselves.
OURS: Final = _Ours.OURS


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """
    Which addresses are let in: with `allow` just those networks, else all but the refused.

    `own` are the places where we can be reached ourselves, and so is any address of 127.0.0.0/8
    with a port of `own_loopback`: traffic would go round in circles.
    """

    allow: tuple[Network, ...] = ()
    loopback: bool = False
    own: frozenset[Endpoint] = frozenset()
    own_loopback: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class HostPort:
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
    if ":" not in text:
        quad = _QUAD.fullmatch(text)
        if not quad:
            return None
        a, b, c, d = quad.groups()
        return IPv4Address(int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d))
    try:
        return IPv6Address(text)
    except ValueError:
        return None


def is_let_in(address: Address, address_policy: AddressPolicy) -> bool:
    """
    Decide whether traffic may be sent to an address.

    Where networks are named, the address must be in one, and so must an address that it carries:
    `::/0` says nothing about `::ffff:127.0.0.1`.
    """
    if address_policy.allow:
        carried = _carried(address)
        return _is_in(address, address_policy.allow) and (
            carried is None or _is_in(carried, address_policy.allow)
        )
    number, version = int(address), address.version
    if bisect_right(_LOOPBACK_BORDERS[version], number) % 2:
        return address_policy.loopback
    return not bisect_right(_REFUSED_BORDERS[version], number) % 2


def _carried(address: Address) -> Address | None:
    """Return the IPv4 address that an IPv6 one stands for, where its form tells which."""
    if address.version == 6:
        for network, shift in _CARRIERS:
            if address in network:
                return IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    return None


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def canonical(address: Address) -> str:
    """
    Return an address as text made from its bytes alone; a mapped one as the IPv4 one it is.
    """
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or IPv6Address(address.packed)
    return str(address)


def validate(
    address: object, port: object, address_policy: AddressPolicy
) -> Endpoint | Literal[_Ours.OURS] | None:
    """
    Turn what the registry says into an endpoint: None when it is refused, OURS when it is us.

    That it is us is found first: it is known, and not refused, wherever we listen.
    """
    if type(port) is not int or not 0 < port < 65536:  # True is an int, and "80 " becomes one
        return None
    parsed = read_address(address)
    if parsed is None:
        return None
    endpoint = Endpoint(canonical(parsed), port)
    if endpoint in address_policy.own or (
        port in address_policy.own_loopback
        and endpoint.host.startswith("127.")  # canonical, so an address
    ):
        return OURS
    return endpoint if is_let_in(parsed, address_policy) else None


def parse_host_port(text: str) -> HostPort:
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
    if isinstance(address, IPv6Address) != bracketed:
        known = False
    if not separator or not known or not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise ValueError(
            f"expected host:port such as 10.0.0.5:8000 or [fd00::5]:8000, not {text!r}"
        )
    return HostPort(host, int(port))


def cap(endpoints: Iterable[Endpoint], limit: int) -> tuple[tuple[Endpoint, ...], int]:
    """
    Sort the endpoints and keep the first `limit`; return them and how many were left out.
    """
    ordered = tuple(sorted(endpoints))
    return ordered[:limit], max(0, len(ordered) - limit)
