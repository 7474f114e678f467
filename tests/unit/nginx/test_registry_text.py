import ipaddress
import json
import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from supervisor.core.addresses import AddressPolicy, read_address, validate
from supervisor.core.config.load import read
from supervisor.core.config.settings import Settings
from supervisor.core.model import Endpoint, Mode, Plan
from supervisor.discovery.selection import select
from supervisor.nginx.render import RenderContext, Renderer
from supervisor.nginx.templates import read_templates
from tests.support.conf_lint import Directive, complaints, directives

POISON = st.sampled_from(list(";{}$#\n\r\0%\\\"' `~:[]/@\t\u0660\uff11\u2028é"))
ADDRESSES = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded.upper()),
    st.builds(str.__add__, st.ip_addresses().map(str), st.text(POISON, min_size=1, max_size=4)),
    st.builds(str.__add__, st.text(POISON, min_size=1, max_size=4), st.ip_addresses().map(str)),
    st.builds("{}%{}".format, st.ip_addresses(v=6), st.text(max_size=20)),
    st.text(max_size=60),
    st.none() | st.integers() | st.booleans() | st.binary(max_size=16) | st.lists(st.text()),
)
PORTS = st.one_of(
    st.integers(1, 65535),
    st.integers(),
    st.booleans(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["80", " 80 ", "8_0", "\uff18\uff10", "80;", 80.0, None, [], {}, 2**70]),
)
ALL_ADDRESSES = AddressPolicy(
    allow=(ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
)
POLICIES = st.sampled_from([AddressPolicy(), AddressPolicy(loopback=True), ALL_ADDRESSES])
TAGS = st.none() | st.lists(
    st.text(POISON, max_size=6)
    | st.sampled_from(["lb.weight=3", "lb.backup", "lb.drain", "lb.weight=3;", "lb.backup\n"])
)
ROWS = st.fixed_dictionaries({"Address": ADDRESSES, "Port": PORTS, "Tags": TAGS})
ALL_NETWORKS = read({"SERVICE_NAME": "web", "ALLOW_NETWORKS": "0.0.0.0/0,::/0"}, lambda _: False)
DEFAULT_NETWORKS = read({"SERVICE_NAME": "web", "NOMAD_ALLOC_ID": "a"}, lambda _: False)


def is_canonical(endpoint: Endpoint) -> bool:
    """
    Return whether an endpoint is an IP address in its shortest form and a port.
    """
    address = ipaddress.ip_address(endpoint.host)
    plain = set(endpoint.host) <= set("0123456789abcdef.:")
    shortest = str(type(address)(int(address))) == endpoint.host
    return plain and shortest and type(endpoint.port) is int and 0 < endpoint.port < 65536


@hypothesis(max_examples=300, deadline=None)
@given(ADDRESSES, PORTS, POLICIES)
@example("fe80::1%eth0; } evil {", 80, ALL_ADDRESSES)
@example("10.0.0.1:80; } server { listen 1; } upstream z { server 10.0.0.2", 80, ALL_ADDRESSES)
@example("010.0.0.1", 80, ALL_ADDRESSES)
@example("10.0.0.1", True, ALL_ADDRESSES)
@example("10.0.0.1\n", 80, ALL_ADDRESSES)
def test_an_endpoint_is_always_an_address_and_a_port(
    address: object, port: object, address_policy: AddressPolicy
) -> None:
    """
    Any text in the registry results in the canonical form of the registered address and port, or in
    no endpoint.
    """
    found = validate(address, port, address_policy)
    if found is None:
        return
    assert is_canonical(found)
    meant = ipaddress.ip_address(str(address))
    assert ipaddress.ip_address(found.host) == (getattr(meant, "ipv4_mapped", None) or meant)
    assert type(port) is int
    assert found.port == port


@hypothesis(max_examples=300, deadline=None)
@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_address_and_port_is_accepted(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    """
    An allowed address is accepted in every spelling.
    """
    for text in {str(address), address.exploded, address.exploded.upper()}:
        meant = getattr(address, "ipv4_mapped", None) or address
        assert validate(text, port, ALL_ADDRESSES) == Endpoint(str(meant), port)


@hypothesis(max_examples=300, deadline=None)
@given(
    st.one_of(
        ADDRESSES,
        st.ip_addresses(v=4).map(str),
        st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,4}){2,4}", fullmatch=True),
        st.lists(st.integers(-1, 300).map(str), min_size=3, max_size=5).map(".".join),
    )
)
@example("1.2.3.4\n")
@example("01.2.3.4")
@example("1.2.3.\u0664")
def test_addresses_are_read_as_by_the_standard_library(text: object) -> None:
    """
    `read_address`, which takes half the time, accepts and rejects the same texts, except zones.
    """
    try:
        expected = ipaddress.ip_address(text) if isinstance(text, str) and "%" not in text else None
    except ValueError:
        expected = None
    assert expected == read_address(text)


@hypothesis(max_examples=60, deadline=None)
@given(st.lists(st.one_of(ROWS, PORTS)))
def test_an_invalid_row_affects_no_other(rows: list[object]) -> None:
    """
    A valid row is served beside any others, and each invalid one is counted.
    """
    found = select(rows, ALL_NETWORKS)
    good = {"Address": "10.9.8.7", "Port": 4321, "Tags": ["; }"], "JobID": "\0", "ID": {}}
    more = select([*rows, good], ALL_NETWORKS)
    assert {*found.endpoints, Endpoint("10.9.8.7", 4321)} == set(more.endpoints)
    assert found.refused == more.refused
    assert found.refused + found.skipped + len(found.endpoints) <= len(rows)


@hypothesis(max_examples=30, deadline=None)
@given(st.lists(ROWS, max_size=12), st.sampled_from([ALL_NETWORKS, DEFAULT_NETWORKS]))
def test_S01_the_rendered_file_holds_exactly_the_selected_servers(
    rows: list[object], settings: Settings
) -> None:
    """
    The rendered files, parsed as by nginx, hold one `server` line per accepted endpoint, and no
    directive or parameter from the text of the registry.
    """
    chosen = select(rows, settings)
    mode = Mode.SERVE if chosen.endpoints else Mode.NO_ENDPOINTS
    server_options = tuple(sorted(chosen.server_options.items()))
    found = rendered(Plan(chosen.endpoints, mode, server_options))
    plain = rendered(Plan((Endpoint("10.0.0.1", 1),), mode) if chosen.endpoints else Plan((), mode))
    served = servers(found) if chosen.endpoints else []
    assert sorted(map(str, chosen.endpoints)) == sorted(words[0] for words in served)
    assert {word for words in served for word in words[1:]} <= PARAMETERS
    assert [] == complaints(found)
    assert names(plain) == names(found)


#: All parameters that three known tags can add to an endpoint.
PARAMETERS = {"max_fails=0", "weight=3", "backup", "down"}


def servers(found: list[Directive]) -> list[tuple[str, ...]]:
    """
    Return the arguments of each server of the service.
    """
    return [d.words for d in found if d.around[-1:] == ("upstream service",) and d.name == "server"]


def names(found: list[Directive]) -> list[str]:
    """
    Return the names of all directives except the servers of the service.
    """
    return [d.name for d in found if not (d.name == "server" and d.words in servers(found))]


def rendered(plan: Plan) -> list[Directive]:
    """
    Render a plan and parse the files.
    """
    context = RenderContext(
        read({"ENDPOINTS": "10.0.0.1:1"}, lambda _: False),
        *((1, 31, 3), "/run/ax", 1, 1024, 512, ("127.0.0.1:8080",)),
    )
    with tempfile.TemporaryDirectory() as name:
        return directives(Renderer(context, TEMPLATES).render(plan, 1, 0, {}).files, Path(name))


TEMPLATES = read_templates()


@hypothesis(max_examples=60, deadline=None)
@given(st.recursive(ADDRESSES.filter(lambda a: not isinstance(a, bytes)) | PORTS, st.lists))
def test_rows_of_any_json_raise_no_exception(value: object) -> None:
    """
    Any JSON as a row is accepted or refused.
    """
    rows = json.loads(json.dumps([value, {"Address": value, "Port": value}]))
    for settings in (ALL_NETWORKS, DEFAULT_NETWORKS):
        found = select(rows, settings)
        assert len(found.endpoints) + found.refused + found.skipped <= len(rows)
