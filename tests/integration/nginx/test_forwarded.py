"""
Who the client is: what a replica is told, and from whom that is believed.
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

#: The addresses we ask from; the client behind the proxies is of a network for documentation.
STRANGER, PROXY, OUTER = "127.0.0.1", "127.0.0.2", "127.0.0.3"
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

Told = dict[str, list[str]]


def told(port: int, source: str, *lines: str, path: str = "/headers") -> Told:
    """
    Ask from an address with these header lines, and return what the replica received.
    """
    head = [f"GET {path} HTTP/1.1", "Host: shop.example:8080", "Connection: close", *lines, "", ""]
    with socket.create_connection(("127.0.0.1", port), 5, (source, 0)) as connection:
        connection.sendall("\r\n".join(head).encode("latin-1"))
        answer = read_answer(connection)
    assert 200 == answer.status, answer.text
    found: Told = {}
    for line in answer.text.split("\n"):
        name, _, value = line.partition(": ")
        found.setdefault(name.lower(), []).append(value)
    return found


def plan(*served: Replica) -> Plan:
    return Plan(tuple(sorted(Endpoint(*each.endpoint) for each in served)), Mode.SERVE)


@nginxes
@pytest.mark.parametrize("environ", [{}, TRUSTED])
def test_what_a_stranger_claims_is_not_believed(
    nginx: str, replicas: Replicas, environ: dict[str, str]
) -> None:
    """
    Nobody is trusted by default, and nobody but the named: the replica is told who connects and
    how, and nothing of what the client says about itself, spelt with underscores or not.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one), environ) as port:
        found = told(port, STRANGER, *CLAIMS)

        assert [STRANGER] == found["x-forwarded-for"] == found["x-real-ip"]
        assert ["http"] == found["x-forwarded-proto"]
        assert ["shop.example:8080"] == found["x-forwarded-host"] == found["host"]
        assert [str(port)] == found["x-forwarded-port"]
        assert ID.fullmatch(found["x-request-id"][0])
        unwanted = {"x-forwarded-prefix", "forwarded", "x_forwarded_for", "x_real_ip"}
        assert set() == unwanted & found.keys()
        assert CLIENT not in str(found)


@nginxes
def test_what_a_trusted_proxy_says_is_passed_on(nginx: str, replicas: Replicas) -> None:
    """
    The client is the client, not the proxy: all that the proxy says of it arrives, with the proxy's
    own address added to the way; X-Real-IP is ours to say, whoever sends one.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one), TRUSTED) as port:
        lines = [line.replace("X-Real-IP: " + CLIENT, "X-Real-IP: 6.6.6.6") for line in CLAIMS]
        found = told(port, PROXY, *lines)

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
def test_a_trusted_proxy_that_says_nothing_is_the_client(nginx: str, replicas: Replicas) -> None:
    """
    What it leaves out is what we see, and the request still has an ID.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one), TRUSTED) as port:
        for lines in ((), ("X-Forwarded-For:", "X-Request-ID:", "X-Forwarded-Proto:")):
            found = told(port, PROXY, *lines)
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
def test_the_client_is_the_last_who_is_not_trusted(
    nginx: str, replicas: Replicas, lines: tuple[str, ...], client: str
) -> None:
    """
    Through a chain of proxies, in one line or several: what a client puts in front is skipped, and
    garbage names nobody.  The whole way arrives, as it was told and with the last proxy at its end.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one), TRUSTED) as port:
        found = told(port, PROXY, *lines)

        assert [client] == found["x-real-ip"]
        way = ", ".join(line.removeprefix("X-Forwarded-For: ") for line in lines)
        assert [f"{way}, {PROXY}"] == found["x-forwarded-for"]


@nginxes
def test_where_all_are_trusted_the_first_is_the_client(nginx: str, replicas: Replicas) -> None:
    """
    All networks of both families: every client can then say what it likes, as documented.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one), {"TRUSTED_PROXIES": "0.0.0.0/0,::/0"}) as port:
        assert ["6.6.6.6"] == told(port, STRANGER, f"X-Forwarded-For: 6.6.6.6, {CLIENT}")[
            "x-real-ip"
        ]


@nginxes
@pytest.mark.parametrize(
    "method", [{"LB_METHOD": "ip_hash"}, {"LB_METHOD": "hash", "LB_HASH_KEY": "ip"}]
)
def test_clients_behind_a_proxy_are_told_apart(
    nginx: str, replicas: Replicas, method: dict[str, str]
) -> None:
    """
    By the address of the client and not of the proxy: behind one proxy they still spread, and each
    stays where it is.  A stranger who claims to be many stays one.
    """
    one, two, three = replicas("one", "two", "three")

    def answered(port: int, source: str) -> Counter[str]:
        for n in range(60):
            told(port, source, f"X-Forwarded-For: 203.0.{n}.7")
        found = Counter({each.name: each.requests["GET /headers"] for each in (one, two, three)})
        for each in (one, two, three):
            each.requests.clear()
        return +found

    with running(nginx, plan(one, two, three), {**TRUSTED, **method}) as port:
        assert 3 == len(answered(port, PROXY))
        assert 1 == len(answered(port, STRANGER))


@nginxes
def test_every_request_has_an_id_of_its_own(nginx: str, replicas: Replicas) -> None:
    """
    Also a request that nobody gave one, on one connection after the other.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one)) as port:
        seen = {told(port, STRANGER)["x-request-id"][0] for _ in range(20)}

    assert 20 == len(seen)
