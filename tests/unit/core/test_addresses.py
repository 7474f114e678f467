import ipaddress

import pytest

from supervisor.core.addresses import OURS, AddressPolicy, canonical, validate, why_refused
from supervisor.core.config import load
from supervisor.core.model import Endpoint
from supervisor.discovery.selection import select
from tests.support.nomad_registry import row

REFUSED = {
    "unspecified": ["0.0.0.0", "0.1.2.3", "::", "::a00:1"],
    "loopback": ["127.0.0.1", "127.9.9.9", "::1"],
    "link-local": ["169.254.0.1", "169.254.255.255", "fe80::1", "febf::1", "fec0::1"],
    "metadata": [
        *("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
        *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42"),
    ],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::ffff:0:a00:1"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::a00:1"],
    "6to4": ["2002:7f00:1::1", "2002:a9fe:a9fe::1", "2002:a00:1::1"],
    "Teredo": ["2001:0:7f00:1::1", "2001::1"],
}
ALLOWED = [
    *("10.0.0.1", "172.17.0.1", "192.168.1.1", "100.64.0.1", "1.0.0.0", "223.255.255.255"),
    *("126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "168.63.129.17"),
    *("2001:db8::1", "2001:1::1", "2003::1", "2600::1", "fd00::5", "fd00:ec1::1", "fd00:ec3::1"),
]
ADDRESSES = [(kind, address) for kind, listed in REFUSED.items() for address in listed]
EVERYTHING = "0.0.0.0/0,::/0"


@pytest.mark.parametrize("kind, address", ADDRESSES)
def test_S04_special_purpose_addresses_are_refused(kind: str, address: str) -> None:
    """
    In an allocation with an ordinary address of its own, none of these addresses gets traffic in
    any notation, unless ALLOW_NETWORKS contains it.
    """
    allocation = {"SERVICE_NAME": "web", "NOMAD_ALLOC_ID": "a", "NOMAD_IP_http": "10.9.9.9"}
    inside = load.read(allocation, lambda _: False)
    for text in {address, ipaddress.ip_address(address).exploded.upper()}:
        found = select([row("web", text, 80), row("web", "10.0.0.1", 80)], inside)
        assert (Endpoint("10.0.0.1", 80),) == found.endpoints
        assert 1 == found.refused

    named = load.read(allocation | {"ALLOW_NETWORKS": EVERYTHING}, lambda _: False)
    assert 1 == len(select([row("web", address, 80)], named).endpoints)


@pytest.mark.parametrize("address", ALLOWED)
def test_S04_ordinary_addresses_are_allowed(address: str) -> None:
    """
    Private, shared and public addresses are allowed, up to the borders of the refused networks.
    """
    assert Endpoint(address, 80) == validate(address, 80, AddressPolicy())


@pytest.mark.parametrize(
    "environ",
    [
        {"SERVICE_NAME": "web"},
        {"ENDPOINTS": "127.0.0.1:80", "NOMAD_ALLOC_ID": "a", "NOMAD_IP_http": "10.9.9.9"},
        {"ENDPOINTS_FILE": "/tmp/list", "NOMAD_ALLOC_ID": "a", "NOMAD_IP_http": "10.9.9.9"},
        {"SERVICE_NAME": "web", "NOMAD_ALLOC_ID": "a", "NOMAD_IP_http": "127.0.0.1"},
        {"SERVICE_NAME": "web", "NOMAD_ALLOC_ID": "a", "ALLOW_NETWORKS": "127.0.0.0/8"},
    ],
)
def test_S04_loopback_is_allowed_only_in_these_environments(environ: dict[str, str]) -> None:
    """
    Loopback alone is allowed with a static list or a file, outside an allocation, if the address
    of the allocation is loopback, and if ALLOW_NETWORKS contains it.
    """
    address_policy = load.read(environ, lambda _: False).address_policy

    assert Endpoint("127.0.0.1", 80) == validate("127.0.0.1", 80, address_policy)
    assert validate("::ffff:127.0.0.1", 80, address_policy) is None
    assert validate("169.254.169.254", 80, address_policy) is None


def networks(*texts: str) -> AddressPolicy:
    """
    Return a policy that allows these networks.
    """
    return AddressPolicy(tuple(ipaddress.ip_network(text) for text in texts))


def test_only_addresses_in_allow_are_allowed() -> None:
    """
    With `allow` set, `loopback` has no effect.
    """
    address_policy = AddressPolicy((ipaddress.ip_network("10.1.0.0/16"),), loopback=True)

    assert Endpoint("10.1.255.255", 80) == validate("10.1.255.255", 80, address_policy)
    assert validate("10.2.0.0", 80, address_policy) is None
    assert validate("127.0.0.1", 80, address_policy) is None
    assert validate("fd00::1", 80, address_policy) is None


@pytest.mark.parametrize(
    "carrier", ["::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::1", "2002:a01:203:9:8:7:6:5"]
)
def test_an_address_that_carries_another_needs_both_allowed(carrier: str) -> None:
    """
    Allowing all of IPv6 does not allow an embedded IPv4 address, nor the other way round.
    """
    assert validate(carrier, 80, networks("::/0")) is None
    assert validate(carrier, 80, networks("10.1.0.0/16")) is None
    assert validate(carrier, 80, networks("::/0", "10.2.0.0/16")) is None
    assert validate(carrier, 80, networks("::/0", "10.1.0.0/16"))


def test_a_mapped_address_becomes_the_ipv4_address() -> None:
    """
    Every notation of an address yields the same endpoint, as it does in the kernel.
    """
    everything = networks("::/0", "0.0.0.0/0")

    assert Endpoint("10.1.2.3", 80) == validate("::ffff:10.1.2.3", 80, everything)
    assert "10.1.2.3" == canonical(ipaddress.ip_address("::FFFF:a01:203"))
    assert "fd00::a01:203" == canonical(ipaddress.ip_address("FD00:0::10.1.2.3"))


def test_an_own_address_is_detected_before_it_is_refused() -> None:
    """
    An own address in a refused network yields OURS and not a refusal.
    """
    own = AddressPolicy(own=frozenset({Endpoint("127.0.0.1", 80), Endpoint("fd00::1", 80)}))

    assert validate("127.0.0.1", 80, own) is OURS
    assert validate("::ffff:127.0.0.1", 80, own) is OURS
    assert validate("FD00:0::1", 80, own) is OURS
    assert validate("127.0.0.1", 81, own) is None
    assert validate("127.0.0.2", 80, own) is None
    assert Endpoint("fd00::1", 81) == validate("fd00::1", 81, own)


def test_all_of_loopback_is_ours_when_listening_on_all_addresses() -> None:
    """
    Each of its 16 million addresses with the own port yields OURS; other ports do not.
    """
    everywhere = AddressPolicy(loopback=True, own_loopback=frozenset({8080}))

    assert validate("127.255.255.254", 8080, everywhere) is OURS
    assert Endpoint("127.255.255.254", 8081) == validate("127.255.255.254", 8081, everywhere)
    assert Endpoint("128.0.0.1", 8080) == validate("128.0.0.1", 8080, everywhere)
    assert Endpoint("::1", 8080) == validate("::1", 8080, everywhere)


@pytest.mark.parametrize(
    "address, port, allow, reason",
    [
        ("10.0.0.1", True, "", "'10.0.0.1' has no valid port (True)"),
        ("10.0.0.1", 0, "", "'10.0.0.1' has no valid port (0)"),
        (None, 80, "", "None is not an IP address"),
        ("fe80::1%eth0", 80, "", "'fe80::1%eth0' is not an IP address"),
        ("db.example", 80, "", "'db.example' is a name, not an IP address"),
        ("10.0.0.1", 80, "10.1.0.0/16", "10.0.0.1 is not in ALLOW_NETWORKS"),
        ("::1", 80, "", "::1 is this task itself inside an allocation; set ALLOW_NETWORKS to"),
        ("224.0.0.1", 80, "", "224.0.0.1 is a special address; set ALLOW_NETWORKS to serve it"),
    ],
)
def test_a_refusal_has_its_reason(address: object, port: object, allow: str, reason: str) -> None:
    """
    With the value and, where a setting permits it, that setting.
    """
    networks = (ipaddress.ip_network(allow),) if allow else ()
    policy = AddressPolicy(networks)

    assert validate(address, port, policy) is None
    assert why_refused(address, port, policy).startswith(reason)
