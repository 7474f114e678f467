"""
Headers about the client: what a replica receives, and which proxies are trusted.
"""

import re
import socket
from collections import Counter
from collections.abc import Callable

import pytest

from supervisor.core.model import Endpoint, Mode, Plan
from tests.support.client import get, read_answer
from tests.support.listening import listening
from tests.support.nginxes import BOTH
from tests.support.rendered import running
from tests.support.replica import Replica
from tests.support.wire import Reply, read_request

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
    "Proxy: http://evil.example",
    "X-Forwarded-Ssl: on",
    "X-Forwarded-Scheme: https",
    "X-Forwarded-Server: evil.example",
    "X-Forwarded-User: root",
    "X-Forwarded-Protocol: https",
    "X-Original-URL: /admin",
    "X-Rewrite-URL: /admin",
    f"True-Client-IP: {CLIENT}",
    f"CF-Connecting-IP: {CLIENT}",
    f"X-Client-IP: {CLIENT}",
    "X-Forwarded-Client-Cert: Subject=root",
    "Remote-User: root",
)
#: Claims that are removed; the others are replaced with what nginx knows.
REMOVED = {"x-forwarded-prefix", "forwarded"} | {
    line.partition(":")[0].lower() for line in CLAIMS[8:]
}
ID = re.compile(r"[0-9a-f]{32}")

nginxes = pytest.mark.parametrize("nginx", BOTH)

Headers = dict[str, list[str]]


def received_headers(
    port: int,
    source: str,
    *lines: str,
    target: str = "/headers",
    host: str = "shop.example:8080",
) -> Headers:
    """
    Send a request from an address with these header lines and return what the replica received.
    """
    head = [f"GET {target} HTTP/1.1", f"Host: {host}", "Connection: close", *lines, "", ""]
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
        assert ["8080"] == found["x-forwarded-port"]
        assert ID.fullmatch(found["x-request-id"][0])
        assert set() == REMOVED & found.keys()
        assert CLIENT not in str(found)
        assert "evil" not in str(found)


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
        assert found.keys() >= REMOVED - {"x_forwarded_for", "x_real_ip"}


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
            assert ["8080"] == found["x-forwarded-port"]
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


@nginxes
@pytest.mark.parametrize("environ", [{}, TRUSTED])
@pytest.mark.parametrize(
    "host, expected",
    [
        ("shop.example", "80"),
        ("shop.example:8080", "8080"),
        ("shop.example:443", "443"),
        ("203.0.113.9:9", "9"),
        ("[2001:db8::1]", "80"),
        ("[2001:db8::1]:8443", "8443"),
    ],
)
def test_the_forwarded_port_is_that_of_the_host(
    nginx: str, replicas: Replicas, environ: dict[str, str], host: str, expected: str
) -> None:
    """
    Not that of the container: a port map or a load balancer in between has another one, and
    redirects must lead to where the client came from.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one), environ) as port:
        found = received_headers(port, UNTRUSTED, host=host)

    assert [expected] == found["x-forwarded-port"]
    assert [host] == found["host"] == found["x-forwarded-host"]


@nginxes
@pytest.mark.parametrize(
    "lines, expected",
    [
        (("X-Forwarded-Proto: https",), ["443"]),
        (("X-Forwarded-Proto: http",), ["80"]),
        (("X-Forwarded-Proto: https", "X-Forwarded-Port: 8443"), ["8443"]),
        (("X-Forwarded-Host: public.example:8443",), None),
    ],
)
def test_behind_a_proxy_the_port_is_that_of_its_scheme(
    nginx: str, replicas: Replicas, lines: tuple[str, ...], expected: list[str] | None
) -> None:
    """
    A proxy that terminates TLS need not name the port.  If it names a host, that may have a port,
    and no other one is added.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one), TRUSTED) as port:
        found = received_headers(port, PROXY, *lines, host="shop.example")

    assert expected == found.get("x-forwarded-port")


@nginxes
@pytest.mark.parametrize("authority", ["shop.example", "shop.example:81", "[2001:db8::1]:81"])
def test_the_host_of_the_request_line_counts(
    nginx: str, replicas: Replicas, authority: str
) -> None:
    """
    A request in absolute form names the host in its first line, and its header is ignored (RFC
    9112, 3.2.2): otherwise the balancer and a proxy before it would see different hosts.
    """
    (one,) = replicas("one")
    with running(nginx, plan(one)) as port:
        target = f"http://{authority}/headers?x=http://c.example"
        found = received_headers(port, UNTRUSTED, target=target, host="other.example:82")

    assert [authority] == found["host"] == found["x-forwarded-host"]
    assert ["81" if authority.endswith(":81") else "80"] == found["x-forwarded-port"]


@nginxes
def test_a_location_of_a_replica_is_not_rewritten(nginx: str) -> None:
    """
    Even if the host in it has the name of nginx's upstream.
    """
    for location in ("http://service/login", "http://service/", "http://current/", "/login"):

        def serve(connection: socket.socket, location: str = location) -> None:
            with connection.makefile("rb") as stream:
                while read_request(stream):
                    connection.sendall(Reply(302, b"", {"Location": location}).encode())

        with (
            listening(serve) as address,
            running(nginx, Plan((Endpoint(*address),), Mode.SERVE)) as port,
        ):
            assert location == get(port).headers["Location"]


@nginxes
def test_headers_with_underscores_need_a_setting(nginx: str, replicas: Replicas) -> None:
    """
    `api_key` reaches the replica with UNDERSCORE_HEADERS=true.  A header that nginx sets or removes
    still does not, in any spelling: to a WSGI application the sign makes no difference.
    """
    (one,) = replicas("one")
    lines = (
        "api_key: k",
        *CLAIMS,
        *(line.replace("-", "_") for line in CLAIMS),
        "X-Forwarded_For: 6.6.6.6",
        "X_Forwarded-Proto: https",
        "Content_Length: 5",
        "transfer_encoding: chunked",
        "x_request_id: theirs",
    )
    with running(nginx, plan(one)) as port:
        assert "api_key" not in received_headers(port, UNTRUSTED, *lines)
    with running(nginx, plan(one), {"UNDERSCORE_HEADERS": "true"}) as port:
        found = received_headers(port, UNTRUSTED, *lines)
        assert ["k"] == found["api_key"]
        assert ["api_key"] == [name for name in found if "_" in name]
        assert [UNTRUSTED] == found["x-forwarded-for"] == found["x-real-ip"]
        assert CLIENT not in str(found)
    with running(nginx, plan(one), {**TRUSTED, "UNDERSCORE_HEADERS": "true"}) as port:
        found = received_headers(port, UNTRUSTED, *lines)
        assert ["api_key"] == [name for name in found if "_" in name]
