"""
Validate the addresses of endpoints; data from the registry is not trusted.

An address is parsed and then formatted from its bytes, and a port must be an int; no other text
from the registry reaches a config file.  Parsing instead of escaping, because `ipaddress` accepts
`fe80::1%eth0; } evil {` and returns the payload, and a registered address is a free string
chosen by the author of a job.
"""

import ipaddress
import re
from bisect import bisect_right
from collections.abc import Iterable
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Literal

from supervisor.core.model import Endpoint
from supervisor.core.values import value_class

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: An IPv4 address as `ipaddress` accepts it, parsed in half the time.
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_QUAD = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}")

_PORT = re.compile(r"[0-9]{1,5}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?")

#: The most characters of a value in a message.
_MAX_QUOTED = 80

_LOOPBACK = ("127.0.0.0/8", "::1/128")

#: Refused by default: "this network" (Linux may route it to itself), the metadata services of
#: clouds (link-local, and a few others), multicast and reserved addresses.  In IPv6 also every form
#: that carries an IPv4 address: mapped, NAT64 and other forms that begin with zeros, Teredo and
#: 6to4.  No replica is registered with one, and a gateway may translate it to a refused address.
_REFUSED = (
    *("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
    *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
    *("::/8", "2001::/32", "2002::/16", "fe80::/9", "ff00::/8"),
    *("fd00:ec2::/32", "fd20:ce::254/128", "fd00:c1::a9fe:a9fe/128", "fd00:42::42/128"),
)

#: The bit offset, from the right, of the IPv4 address in the IPv6 forms with a fixed layout.
_CARRIERS = (
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("2002::/16"), 80),
)


def _borders(networks: Iterable[str]) -> dict[int, list[int]]:
    """
    Return, by IP version, the sorted first and past-the-end addresses of the networks, as ints.

    The networks must not touch.  An address is in one of them when an odd number of borders is less
    than or equal to it.
    """
    by_version: dict[int, list[int]] = {4: [], 6: []}
    for network in map(ipaddress.ip_network, networks):
        by_version[network.version] += [int(network[0]), int(network[-1]) + 1]
    return {version: sorted(borders) for version, borders in by_version.items()}


_LOOPBACK_BORDERS = _borders(_LOOPBACK)
_REFUSED_BORDERS = _borders(_REFUSED)


class _Ours(Enum):
    """The result of `validate` that is neither an endpoint nor a refusal."""

    OURS = "ours"


#: Returned for an address and port on which this supervisor's nginx listens.
OURS: Final = _Ours.OURS


@value_class(frozen=True, slots=True)
class AddressPolicy:
    """
    The addresses that are allowed: the networks in `allow`, or all but the refused if it is empty.

    `own` holds the addresses on which nginx itself listens, and so does any address of 127.0.0.0/8
    with a port in `own_loopback`; proxying to them would create a loop.
    """

    allow: tuple[Network, ...] = ()
    loopback: bool = False
    own: frozenset[Endpoint] = frozenset()
    own_loopback: frozenset[int] = frozenset()


@value_class(frozen=True, slots=True)
class HostPort:
    """
    A configured `host:port`, where the host may be a name.
    """

    host: str
    port: int


def read_address(text: object) -> Address | None:
    """
    Parse an address; return None if it is invalid or has a zone id, which nginx cannot use.
    """
    if not isinstance(text, str) or "%" in text:
        return None
    if ":" not in text:
        quad = _QUAD.fullmatch(text)
        if not quad:
            return None
        return IPv4Address(_number(quad))
    try:
        return IPv6Address(text)
    except ValueError:
        return None


def _number(quad: re.Match[str]) -> int:
    a, b, c, d = quad.groups()
    return int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)


def is_allowed(address: Address, address_policy: AddressPolicy) -> bool:
    """
    Return whether traffic may be sent to an address.

    If `allow` is set, the address must be in one of its networks, and so must an IPv4 address that
    it carries: `::/0` does not allow `::ffff:127.0.0.1`.
    """
    if address_policy.allow:
        carried = _carried(address)
        return _is_in(address, address_policy.allow) and (
            carried is None or _is_in(carried, address_policy.allow)
        )
    return _is_usual(address.version, int(address), address_policy)


def _is_usual(version: int, number: int, address_policy: AddressPolicy) -> bool:
    """Return whether an address may get traffic without ALLOW_NETWORKS."""
    if bisect_right(_LOOPBACK_BORDERS[version], number) % 2:
        return address_policy.loopback
    return not bisect_right(_REFUSED_BORDERS[version], number) % 2


def _carried(address: Address) -> Address | None:
    """Return the IPv4 address that an IPv6 address carries in a fixed layout, or None."""
    if address.version == 6:
        for network, shift in _CARRIERS:
            if address in network:
                return IPv4Address(int(address) >> shift & 0xFFFFFFFF)
    return None


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def canonical(address: Address) -> str:
    """
    Format an address from its bytes; an IPv4-mapped address becomes the IPv4 address.
    """
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or IPv6Address(address.packed)
    return str(address)


def validate(
    address: object, port: object, address_policy: AddressPolicy
) -> Endpoint | Literal[_Ours.OURS] | None:
    """
    Return the endpoint of a registered address and port, None if refused, OURS if nginx's own.

    OURS is checked first, so that an own address that would be refused still counts as OURS.
    """
    if type(port) is not int or not 0 < port < 65536:  # True is an int, and "80 " becomes one
        return None
    quad = _QUAD.fullmatch(address) if isinstance(address, str) else None
    if quad and not address_policy.allow:
        # By far the most frequent case, without the objects of `ipaddress`: 4 us less for each row.
        endpoint, is_good = Endpoint(quad[0], port), _is_usual(4, _number(quad), address_policy)
    else:
        parsed = read_address(address)
        if parsed is None:
            return None
        endpoint, is_good = Endpoint(canonical(parsed), port), is_allowed(parsed, address_policy)
    if endpoint in address_policy.own or (
        port in address_policy.own_loopback
        and endpoint.host.startswith("127.")  # canonical, so it is an IPv4 address
    ):
        return OURS
    return endpoint if is_good else None


def why_refused(address: object, port: object, address_policy: AddressPolicy) -> str:
    """
    Return why `validate` refuses an address and port, with the value, quoted and shortened.
    """
    if type(port) is not int or not 0 < port < 65536:
        return f"{quoted(address)} has no valid port ({quoted(port)})"
    parsed = read_address(address)
    if parsed is None and isinstance(address, str) and _HOST_NAME.fullmatch(address):
        return f"{quoted(address)} is a name, not an IP address"
    if parsed is None:
        return f"{quoted(address)} is not an IP address"
    shown = canonical(parsed)
    if address_policy.allow:
        return f"{shown} is not in ALLOW_NETWORKS"
    if bisect_right(_LOOPBACK_BORDERS[parsed.version], int(parsed)) % 2:
        return f"{shown} is this task itself inside an allocation; set ALLOW_NETWORKS to serve it"
    return f"{shown} is a special address; set ALLOW_NETWORKS to serve it"


def quoted(value: object) -> str:
    """
    Quote a value that is not trusted for a message, in ASCII and shortened.
    """
    text = ascii(value)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}..."


def parse_host_port(text: str) -> HostPort:
    """
    Parse `host:port`, `[ipv6]:port` or `name:port`; raise ValueError with the expected form.
    """
    text = text.strip()
    host, separator, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    address = read_address(host)
    is_name = bool(_HOST_NAME.fullmatch(host)) and ".." not in host and not bracketed
    is_host = address is not None or is_name
    if isinstance(address, IPv6Address) != bracketed:
        is_host = False
    if not separator or not is_host or not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise ValueError(
            f"expected host:port such as 10.0.0.5:8000 or [fd00::5]:8000, not {text!r}"
        )
    return HostPort(host, int(port))


def cap(endpoints: Iterable[Endpoint], limit: int) -> tuple[tuple[Endpoint, ...], int]:
    """
    Sort the endpoints and keep the first `limit`; return them and the number left out.
    """
    ordered = tuple(sorted(endpoints))
    return ordered[:limit], max(0, len(ordered) - limit)
