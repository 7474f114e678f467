"""
Tests of the value types, the errors and the parsing of addresses.
"""

import ipaddress

import pytest

from supervisor.core.addresses import (
    AddressPolicy,
    HostPort,
    cap,
    is_allowed,
    parse_host_port,
    read_address,
    validate,
)
from supervisor.core.errors import ExecutableMissing, ExitCode, Problem
from supervisor.core.model import Endpoint, Mode, Plan
from tests.support.policy_simulation import endpoints


def test_an_endpoint_is_formatted_as_nginx_accepts_it() -> None:
    """
    An IPv6 address is in brackets.
    """
    assert "10.0.0.1:80" == str(Endpoint("10.0.0.1", 80))
    assert "[fd00::1]:80" == str(Endpoint("fd00::1", 80))


def test_equal_plans_have_equal_fingerprints() -> None:
    """
    Plans with other endpoints or another mode have other fingerprints.
    """
    plan = Plan(endpoints(1), Mode.SERVE)

    assert plan.fingerprint == Plan(endpoints(1), Mode.SERVE).fingerprint
    assert 3 == len(
        {plan.fingerprint, Plan((), Mode.STARTING).fingerprint, Plan((), Mode.SERVE).fingerprint}
    )


def test_a_missing_and_a_non_executable_program_have_different_codes() -> None:
    """
    The exit codes are those of a shell: 127 and 126.
    """
    missing, barred = ExecutableMissing("x", found=False), ExecutableMissing("x", found=True)

    assert (ExitCode.NOT_FOUND, "cannot start 'x': it does not exist; giving up") == (
        missing.code,
        str(missing),
    )
    assert (ExitCode.NOT_EXECUTABLE, "cannot start 'x': it is not executable; giving up") == (
        barred.code,
        str(barred),
    )


def test_a_problem_has_one_line_per_error() -> None:
    """
    The lines are printed unchanged.
    """
    assert "a\nb" == str(Problem(ExitCode.CONFIG, "a", "b"))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "169.254.169.254", "fe80::1",
        "fd00:ec2::254", "100.100.100.200", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::7f00:1", "::ffff:10.0.0.1", "255.255.255.255", "240.0.0.1", "0.1.2.3",
    ],
)  # fmt: skip
def test_dangerous_addresses_are_refused(address: str) -> None:
    """
    Loopback, link-local, metadata, multicast and addresses that map to them are refused by default.
    """
    assert validate(address, 80, AddressPolicy()) is None


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "192.168.1.1", "8.8.8.8", "fd00::1", "2001:db8::1"]
)
def test_ordinary_addresses_are_allowed(address: str) -> None:
    """
    Private and public addresses are allowed by default.
    """
    assert validate(address, 80, AddressPolicy()) is not None


def test_loopback_is_allowed_if_configured() -> None:
    """
    On a laptop the replicas listen on loopback.
    """
    assert Endpoint("::1", 80) == validate("0:0:0:0:0:0:0:1", 80, AddressPolicy(loopback=True))


def test_only_allowed_networks_are_allowed() -> None:
    """
    ALLOW_NETWORKS can contain networks that are refused by default.
    """
    address_policy = AddressPolicy(
        (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
    )

    assert validate("127.0.0.1", 80, address_policy)
    assert validate("fd00::1", 80, address_policy)
    assert validate("10.0.0.1", 80, address_policy) is None


@pytest.mark.parametrize("port", [0, 65536, -1, True, "80", 80.0, None])
def test_a_port_is_an_int_in_bounds(port: object) -> None:
    """
    True is an int in Python, and int("80 ") is valid, but both are refused.
    """
    assert validate("10.0.0.1", port, AddressPolicy()) is None


@pytest.mark.parametrize(
    "address", ["fe80::1%eth0; } evil {", "", None, 5, "010.0.0.1", "10.0.0.1\n", "host"]
)
def test_an_invalid_address_is_refused(address: object) -> None:
    """
    The library accepts a zone id, which can contain any text.
    """
    assert read_address(address) is None
    assert validate(address, 80, AddressPolicy()) is None


def test_a_cap_keeps_the_first_in_order() -> None:
    """
    The same endpoints are kept each time, and the rest is counted.
    """
    assert (endpoints(1, 2), 1) == cap(endpoints(3, 2, 1), 2)
    assert (endpoints(1), 0) == cap(endpoints(1), 2)


def test_a_host_may_be_a_name() -> None:
    """
    Names are resolved later; addresses are kept unchanged.
    """
    assert HostPort("replica-1.local", 80) == parse_host_port(" replica-1.local:80 ")
    assert HostPort("::1", 80) == parse_host_port("[::1]:80")


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":80", "host:99999", "[host]:80", "::1:80", "a b:80", "h:\uff180"]
)
def test_an_invalid_host_and_port_is_refused(text: str) -> None:
    """
    The ValueError contains the expected form.
    """
    with pytest.raises(ValueError, match="expected host:port"):
        parse_host_port(text)


def test_a_network_of_the_other_family_never_matches() -> None:
    """
    An IPv4 network does not apply to IPv6 addresses.
    """
    assert not is_allowed(
        ipaddress.ip_address("fd00::1"), AddressPolicy((ipaddress.ip_network("0.0.0.0/0"),))
    )
