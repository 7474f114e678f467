import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from supervisor.core.config.nomad_env import TaskEnvironment, may_serve_loopback, task_environment
from supervisor.core.model import Endpoint

LOCAL = ("127.0.0.1", "::1", "10.0.0.5", "fd00::5")


def parsed(*texts: str) -> set[Endpoint]:
    """
    Return endpoints from `host:port`.
    """
    pairs = [text.rpartition(":") for text in texts]
    return {Endpoint(host.strip("[]"), int(port)) for host, _, port in pairs}


def test_own_endpoints_have_all_local_addresses() -> None:
    """
    They have the listening port; on loopback all of 127.0.0.0/8 counts.
    """
    found = task_environment({}, LOCAL)
    expected = parsed("127.0.0.1:8080", "[::1]:8080", "10.0.0.5:8080", "[fd00::5]:8080")

    assert (expected, frozenset({8080})) == (found.own, found.own_loopback)
    assert {81} == task_environment(
        {"LISTEN_PORT": "81", "NOMAD_PORT_http": "82"}, LOCAL
    ).own_loopback
    assert {82} == task_environment({"NOMAD_PORT_http": "82"}, LOCAL).own_loopback


@pytest.mark.parametrize(
    "address, expected, own_loopback",
    [
        ("10.0.0.5", {"10.0.0.5:81"}, set()),
        ("127.0.0.1, [fd00:0::5]", {"127.0.0.1:81", "[fd00::5]:81"}, set()),
        ("203.0.113.9", {"203.0.113.9:81"}, set()),
        ("0.0.0.0", {"127.0.0.1:81", "10.0.0.5:81"}, {81}),
        ("[::]", {"[::1]:81", "[fd00::5]:81"}, set()),
        ("::,10.0.0.5", {"[::1]:81", "[fd00::5]:81", "10.0.0.5:81"}, set()),
    ],
)
def test_listen_address_limits_the_own_endpoints(
    address: str, expected: set[str], own_loopback: set[int]
) -> None:
    """
    Another local address with the same port belongs to another process.  A listed address that is
    not local yet, such as one that moves between machines, counts as own.
    """
    found = task_environment({"LISTEN_PORT": "81", "LISTEN_ADDRESS": address}, LOCAL)

    assert (parsed(*expected), own_loopback) == (found.own, found.own_loopback)


def test_published_ports_are_own_endpoints() -> None:
    """
    The host's and the local addresses with each host port are own endpoints; the host's address
    with the inner port belongs to another container.
    """
    given_ = {
        "LISTEN_PORT": "8080",
        "LISTEN_ADDRESS": "172.26.0.2",
        "NOMAD_IP_http": "192.0.2.1",
        "NOMAD_HOST_IP_http": "192.0.2.1",
        "NOMAD_HOST_IP_admin": "192.0.2.2",
        "NOMAD_PORT_http": "8080",
        "NOMAD_HOST_PORT_http": "21000",
        "NOMAD_HOST_PORT_admin": "21001",
    }
    hosts = ("192.0.2.1", "192.0.2.2", "172.26.0.2")
    published = {f"{host}:{port}" for host in hosts for port in (21000, 21001)}

    assert parsed(*published, "172.26.0.2:8080") == task_environment(given_, ["172.26.0.2"]).own


def test_the_admin_port_is_an_own_endpoint() -> None:
    """
    Both the listening and the published admin port count.
    """
    given_ = {
        "LISTEN_ADDRESS": "172.26.0.2",
        "NOMAD_PORT_http": "8080",
        "NOMAD_HOST_PORT_http": "21000",
        "NOMAD_PORT_admin": "9000",
        "NOMAD_HOST_PORT_admin": "21001",
        "NOMAD_IP_admin": "192.0.2.1",
        "NOMAD_PORT_model": "5000",
        "NOMAD_HOST_PORT_model": "21002",
    }
    found = task_environment(given_, ["172.26.0.2"])

    assert parsed(
        "172.26.0.2:8080", "172.26.0.2:9000", "172.26.0.2:21000", "172.26.0.2:21001",
        "192.0.2.1:21000", "192.0.2.1:21001",
    ) == found.own  # fmt: skip
    assert {8080, 9000} == task_environment({"ADMIN_PORT": "9000"}, LOCAL).own_loopback
    assert {8080} == task_environment(
        {**given_, "ADMIN_PORT": "off", "LISTEN_ADDRESS": ""}, ()
    ).own_loopback


def test_a_replica_in_the_same_group_is_not_own() -> None:
    """
    Nomad sets the ports of the whole group, including those of replicas.
    """
    given_ = {
        "NOMAD_IP_http": "192.0.2.1",
        "NOMAD_PORT_http": "8080",
        "NOMAD_HOST_PORT_http": "21000",
        "NOMAD_IP_model": "192.0.2.1",
        "NOMAD_PORT_model": "5000",
        "NOMAD_HOST_PORT_model": "21001",
    }

    assert parsed("192.0.2.1:21000") == task_environment(given_, ()).own


def test_without_host_ports_the_hosts_address_is_own() -> None:
    """
    It counts with the listening port.
    """
    found = task_environment(
        {"NOMAD_IP_http": "192.0.2.1", "NOMAD_HOST_IP_http": "192.0.2.2", "LISTEN_PORT": "81"}, ()
    )

    assert parsed("192.0.2.1:81") == found.own


def test_invalid_addresses_and_ports_are_ignored() -> None:
    """
    Invalid settings are reported elsewhere and raise nothing here.
    """
    invalid = {
        "LISTEN_PORT": "http",
        "NOMAD_IP_http": "host",
        "NOMAD_IP_x": "fe80::1%eth0",
        "NOMAD_HOST_PORT_http": "99999",
        "NOMAD_HOST_PORT_x": "\uff18\uff10",
    }

    assert TaskEnvironment(loopback=True) == task_environment(invalid, ["", "x", "fe80::1%eth0"])
    assert frozenset() == task_environment({"LISTEN_PORT": "0"}, LOCAL).own
    assert {8080} == {e.port for e in task_environment({"LISTEN_PORT": "08080"}, LOCAL).own}


TEXT = st.text(max_size=9) | st.sampled_from(["80", "0", "::", "10.0.0.1", "0.0.0.0", "::1", ","])


@hypothesis(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["LISTEN_PORT", "LISTEN_ADDRESS", "NOMAD_IP_a", "NOMAD_HOST_IP_a", "NOMAD_HOST_PORT_a"]
        ),
        TEXT,
    ),
    st.lists(TEXT),
)
def test_any_environment_gives_valid_endpoints(environ: dict[str, str], local: list[str]) -> None:
    """
    All own endpoints are addresses with valid ports.
    """
    for endpoint in task_environment(environ, local).own:
        assert 0 < endpoint.port < 65536
        assert set(endpoint.host) <= set("0123456789abcdef.:")


@pytest.mark.parametrize(
    "addresses, loopback",
    [
        ({}, False),
        ({"NOMAD_IP_http": "127.0.0.1"}, True),
        ({"NOMAD_IP_http": "::1", "NOMAD_IP_admin": "127.0.0.1"}, True),
        ({"NOMAD_IP_http": "10.0.0.5", "NOMAD_IP_admin": "127.0.0.1"}, False),
        ({"NOMAD_IP_http": "127.0.0.1", "NOMAD_IP_x": ""}, False),
    ],
)
def test_loopback_is_served_if_all_addresses_are_loopback(
    addresses: dict[str, str], *, loopback: bool
) -> None:
    """
    One port published on loopback is not enough.
    """
    assert loopback is may_serve_loopback(
        {"SERVICE_NAME": "web", "NOMAD_ALLOC_ID": "a", **addresses}
    )
