import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from supervisor.core.config.nomad_env import TaskEnvironment, may_serve_loopback, task_environment
from supervisor.core.model import Endpoint

LOCAL = ("127.0.0.1", "::1", "10.0.0.5", "fd00::5")


def places(*texts: str) -> set[Endpoint]:
    """
    Return endpoints from `host:port`.
    """
    pairs = [text.rpartition(":") for text in texts]
    return {Endpoint(host.strip("[]"), int(port)) for host, _, port in pairs}


def test_we_answer_at_all_our_addresses() -> None:
    """
    With the port we listen on; of loopback at all of 127.0.0.0/8.
    """
    found = task_environment({}, LOCAL)
    expected = places("127.0.0.1:8080", "[::1]:8080", "10.0.0.5:8080", "[fd00::5]:8080")

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
def test_we_answer_only_where_we_listen(
    address: str, expected: set[str], own_loopback: set[int]
) -> None:
    """
    LISTEN_ADDRESS narrows it down: another address of this machine with the same port is
    somebody else.  An address that is not up yet, as one that moves between machines, is ours.
    """
    found = task_environment({"LISTEN_PORT": "81", "LISTEN_ADDRESS": address}, LOCAL)

    assert (places(*expected), own_loopback) == (found.own, found.own_loopback)


def test_we_answer_where_nomad_publishes_us() -> None:
    """
    At the host's addresses and our own with each host port; the host's address with our inner port
    is another container's.
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

    assert places(*published, "172.26.0.2:8080") == task_environment(given_, ["172.26.0.2"]).own


def test_our_admin_port_is_us_too() -> None:
    """
    Where we listen, and where Nomad publishes it: an endpoint there would be our own status.
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

    assert places(
        "172.26.0.2:8080", "172.26.0.2:9000", "172.26.0.2:21000", "172.26.0.2:21001",
        "192.0.2.1:21000", "192.0.2.1:21001",
    ) == found.own  # fmt: skip
    assert {8080, 9000} == task_environment({"ADMIN_PORT": "9000"}, LOCAL).own_loopback
    assert {8080} == task_environment(
        {**given_, "ADMIN_PORT": "off", "LISTEN_ADDRESS": ""}, ()
    ).own_loopback


def test_a_replica_in_our_group_is_not_us() -> None:
    """
    Nomad tells the ports of the whole group, the replicas' among them.
    """
    given_ = {
        "NOMAD_IP_http": "192.0.2.1",
        "NOMAD_PORT_http": "8080",
        "NOMAD_HOST_PORT_http": "21000",
        "NOMAD_IP_model": "192.0.2.1",
        "NOMAD_PORT_model": "5000",
        "NOMAD_HOST_PORT_model": "21001",
    }

    assert places("192.0.2.1:21000") == task_environment(given_, ()).own


def test_without_host_ports_the_hosts_address_with_our_port_is_us() -> None:
    """
    Nothing else could be meant then.
    """
    found = task_environment(
        {"NOMAD_IP_http": "192.0.2.1", "NOMAD_HOST_IP_http": "192.0.2.2", "LISTEN_PORT": "81"}, ()
    )

    assert places("192.0.2.1:81") == found.own


def test_what_is_not_an_address_or_a_port_is_left_out() -> None:
    """
    The settings tell what is wrong with them; here nothing is raised.
    """
    odd = {
        "LISTEN_PORT": "http",
        "NOMAD_IP_http": "host",
        "NOMAD_IP_x": "fe80::1%eth0",
        "NOMAD_HOST_PORT_http": "99999",
        "NOMAD_HOST_PORT_x": "\uff18\uff10",
    }

    assert TaskEnvironment(loopback=True) == task_environment(odd, ["", "x", "fe80::1%eth0"])
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
def test_no_environment_does_harm(environ: dict[str, str], local: list[str]) -> None:
    """
    Whatever stands there, our places are addresses and ports, or there are none.
    """
    for endpoint in task_environment(environ, local).own:
        assert 0 < endpoint.port < 65536
        assert set(endpoint.host) <= set("0123456789abcdef.:")


@pytest.mark.parametrize(
    "ours, loopback",
    [
        ({}, False),
        ({"NOMAD_IP_http": "127.0.0.1"}, True),
        ({"NOMAD_IP_http": "::1", "NOMAD_IP_admin": "127.0.0.1"}, True),
        ({"NOMAD_IP_http": "10.0.0.5", "NOMAD_IP_admin": "127.0.0.1"}, False),
        ({"NOMAD_IP_http": "127.0.0.1", "NOMAD_IP_x": ""}, False),
    ],
)
def test_an_allocation_is_on_loopback_when_all_of_it_is(
    ours: dict[str, str], *, loopback: bool
) -> None:
    """
    One port that is published on loopback alone does not open loopback to the registry.
    """
    assert loopback is may_serve_loopback({"SERVICE_NAME": "web", "NOMAD_ALLOC_ID": "a", **ours})
