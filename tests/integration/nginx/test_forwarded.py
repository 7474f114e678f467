"""
Headers about the client: what a replica receives, and which proxies are trusted.
"""

import re
import socket
from collections import Counter
from collections.abc import Callable

import pytest

from supervisor.core.model import Endpoint, Mode, Plan
from tests.support.client import read_answer
from tests.support.nginxes import BOTH
from tests.support.rendered import running
from tests.support.replica import Replica

Replicas = Callable[..., list[Replica]]

#: Source addresses of requests; the client behind the proxies is in a documentation network.
UNTRUSTED, PROXY, OUTER = "127.0.0.1", "127.0.0.2", "127.0.0.3"
CLIENT = "203.0.113.7"
TRUSTED = {"TRUSTED_PROXIES": f"{PROXY},{OUTER}"}

CLAIMS = (
    f"X-Forwarded-For: {CLIENT}",
    f"X-Real-IP: {CLIENT}",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: public.example",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Prefix: /models",
    f"Forwarded: for={CLIENT};proto=https",
    "X-Request-ID: theirs-1",
    f"X_Forwarded_For: {CLIENT}",
    f"X_Real_IP: {CLIENT}",
)
ID = re.compile(r"[0-9a-f]{32}")

nginxes = pytest.mark.parametrize("nginx", BOTH)

Headers = dict[str, list[str]]


def received_headers(port: int, source: str, *lines: str, path: str = "/headers") -> Headers:
    """
    Send a request from an address with these header lines and return what the replica received.
    """
    head = [f"GET {path} HTTP/1.1", "Host: shop.example:8080", "Connection: close", *lines, "", ""]
    with socket.create_connection(("127.0.0.1", port), 5, (source, 0)) as connection:
        connection.sendall("\r\n".join(head).encode("latin-1"))
        answer = read_answer(connection)
    assert 200 == answer.status, answer.text
    found: Headers = {}
    for line in answer.text.split("\n"):
        name, _, value = line.partition(": ")
        found.setdefault(name.lower(), []).append(value)
    return found


def plan(*served: Replica) -> Plan:
    return Plan(tuple(sorted(Endpoint(*each.endpoint) for each in served)), Mode.SERVE)


@nginxes
@pytest.mark.parametrize("environ", [{}, TRUSTED])
def test_headers_of_an_untrusted_client_are_replaced(
    nginx: str, replicas: Replicas, environ: dict[str, str]
) -> None:
    """
    No client is trusted unless listed: the replica receives the address and protocol of the
    connection and none of the client's own headers about itself, spelt with underscores or not.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one), environ) as port:
        found = received_headers(port, UNTRUSTED, *CLAIMS)

        assert [UNTRUSTED] == found["x-forwarded-for"] == found["x-real-ip"]
        assert ["http"] == found["x-forwarded-proto"]
        assert ["shop.example:8080"] == found["x-forwarded-host"] == found["host"]
        assert [str(port)] == found["x-forwarded-port"]
        assert ID.fullmatch(found["x-request-id"][0])
        unwanted = {"x-forwarded-prefix", "forwarded", "x_forwarded_for", "x_real_ip"}
        assert set() == unwanted & found.keys()
        assert CLIENT not in str(found)


@nginxes
def test_headers_of_a_trusted_proxy_are_passed_on(nginx: str, replicas: Replicas) -> None:
    """
    The replica receives the proxy's headers about the client, with the proxy's address appended to
    X-Forwarded-For; X-Real-IP is always set by nginx.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one), TRUSTED) as port:
        lines = [line.replace("X-Real-IP: " + CLIENT, "X-Real-IP: 6.6.6.6") for line in CLAIMS]
        found = received_headers(port, PROXY, *lines)

        assert [f"{CLIENT}, {PROXY}"] == found["x-forwarded-for"]
        assert [CLIENT] == found["x-real-ip"]
        assert ["https"] == found["x-forwarded-proto"]
        assert ["public.example"] == found["x-forwarded-host"]
        assert ["443"] == found["x-forwarded-port"]
        assert ["/models"] == found["x-forwarded-prefix"]
        assert [f"for={CLIENT};proto=https"] == found["forwarded"]
        assert ["theirs-1"] == found["x-request-id"]
        assert ["shop.example:8080"] == found["host"]
        assert {"x_forwarded_for", "x_real_ip"}.isdisjoint(found)


@nginxes
def test_a_trusted_proxy_without_headers_is_the_client(nginx: str, replicas: Replicas) -> None:
    """
    Missing headers are filled in from the connection, and the request still has an ID.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one), TRUSTED) as port:
        for lines in ((), ("X-Forwarded-For:", "X-Request-ID:", "X-Forwarded-Proto:")):
            found = received_headers(port, PROXY, *lines)
            assert [PROXY] == found["x-forwarded-for"] == found["x-real-ip"]
            assert ["http"] == found["x-forwarded-proto"]
            assert [str(port)] == found["x-forwarded-port"]
            assert ID.fullmatch(found["x-request-id"][0])


@nginxes
@pytest.mark.parametrize(
    "lines, client",
    [
        ((f"X-Forwarded-For: 6.6.6.6, {CLIENT}",), CLIENT),
        ((f"X-Forwarded-For: 6.6.6.6, {CLIENT}, {OUTER}",), CLIENT),
        ((f"X-Forwarded-For: 6.6.6.6, {CLIENT}, {OUTER}, {OUTER}",), CLIENT),
        (("X-Forwarded-For: 6.6.6.6", f"X-Forwarded-For: {CLIENT}"), CLIENT),
        ((f"X-Forwarded-For: 6.6.6.6, {CLIENT}", f"X-Forwarded-For: {OUTER}"), CLIENT),
        ((f"X-Forwarded-For: {OUTER}",), OUTER),
        (("X-Forwarded-For: 2001:db8::7",), "2001:db8::7"),
        (("X-Forwarded-For: [2001:db8::7]:5555",), "2001:db8::7"),
        ((f"X-Forwarded-For: {CLIENT}:5555",), CLIENT),
        (("X-Forwarded-For: nonsense",), PROXY),
        ((f"X-Forwarded-For: nonsense, {OUTER}",), OUTER),
        (("X-Forwarded-For: 1.2.3.4.5",), PROXY),
        (("X-Forwarded-For: ,,,",), PROXY),
        (("X-Forwarded-For: '; DROP TABLE clients; --",), PROXY),
        (("X-Forwarded-For: unix:",), PROXY),
        (("X-Forwarded-For: " + "1.2.3.4, " * 200 + CLIENT,), CLIENT),
    ],
)
def test_the_client_is_the_last_untrusted_address(
    nginx: str, replicas: Replicas, lines: tuple[str, ...], client: str
) -> None:
    """
    In a chain of proxies, in one header line or several, addresses prepended by a client and
    invalid ones are skipped.  The replica receives the whole chain with the last proxy appended.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one), TRUSTED) as port:
        found = received_headers(port, PROXY, *lines)

        assert [client] == found["x-real-ip"]
        chain = ", ".join(line.removeprefix("X-Forwarded-For: ") for line in lines)
        assert [f"{chain}, {PROXY}"] == found["x-forwarded-for"]


@nginxes
def test_with_all_networks_trusted_the_first_address_is_the_client(
    nginx: str, replicas: Replicas
) -> None:
    """
    With all networks of both families trusted every client can claim any address, as documented.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one), {"TRUSTED_PROXIES": "0.0.0.0/0,::/0"}) as port:
        assert ["6.6.6.6"] == received_headers(
            port, UNTRUSTED, f"X-Forwarded-For: 6.6.6.6, {CLIENT}"
        )["x-real-ip"]


@nginxes
@pytest.mark.parametrize(
    "method", [{"LB_METHOD": "ip_hash"}, {"LB_METHOD": "hash", "LB_HASH_KEY": "ip"}]
)
def test_clients_behind_a_proxy_are_distinguished(
    nginx: str, replicas: Replicas, method: dict[str, str]
) -> None:
    """
    Hashing uses the address of the client and not of the proxy, so that clients behind one proxy
    are spread.  An untrusted client that claims many addresses counts as one.
    """
    one, two, three = replicas("one", "two", "three")

    def answered(port: int, source: str) -> Counter[str]:
        for n in range(60):
            received_headers(port, source, f"X-Forwarded-For: 203.0.{n}.7")
        found = Counter({each.name: each.requests["GET /headers"] for each in (one, two, three)})
        for each in (one, two, three):
            each.requests.clear()
        return +found

    with running(nginx, plan(one, two, three), {**TRUSTED, **method}) as port:
        assert 3 == len(answered(port, PROXY))
        assert 1 == len(answered(port, UNTRUSTED))


@nginxes
def test_every_request_has_a_unique_id(nginx: str, replicas: Replicas) -> None:
    """
    Requests without an ID get one, on consecutive connections.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one)) as port:
        seen = {received_headers(port, UNTRUSTED)["x-request-id"][0] for _ in range(20)}

    assert 20 == len(seen)
