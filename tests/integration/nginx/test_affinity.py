"""
Session affinity: by hash, by address, by cookie.
"""

import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from http.cookies import SimpleCookie

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.client import Answer, get, read_answer, request_bytes
from tests.support.nginxes import BOTH, current
from tests.support.reloading import FAST_RELOADS, reload, wait_for_reloads
from tests.support.replica import Replica
from tests.support.supervised import Supervised

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

nginxes = pytest.mark.parametrize("nginx", BOTH)
with_cookies = pytest.mark.skipif(not current(), reason="no nginx wheel for this machine")

CLIENTS = range(40)
#: Requests of client n by hash key: it differs in a header, the path or the source address.
REQUESTS: dict[str, Callable[[int, int], Answer]] = {
    "header:X-User": lambda port, n: get(port, headers={"X-User": f"user-{n}"}),
    "cookie:session": lambda port, n: get(port, headers={"Cookie": f"a=1; session=s{n}; b=2"}),
    "uri": lambda port, n: get(port, f"/models/{n}?v=1"),
    "ip": lambda port, n: from_address(port, f"127.0.0.{n + 10}"),
}


def from_address(port: int, source: str) -> Answer:
    """
    Send a request from another local address.
    """
    with socket.create_connection(("127.0.0.1", port), 5, (source, 0)) as connection:
        connection.sendall(request_bytes("/"))
        return read_answer(connection)


def started(supervise: Supervise, nginx: str, served: list[Replica], **options: str) -> Supervised:
    """
    Return the program when it serves all these replicas.
    """
    subject = supervise(pid1=False, NGINX_BINARY=nginx, **FAST_RELOADS, **options)
    subject.offer(*served)
    subject.wait_for_log("reload.applied", mode="serve", endpoints=len(served))
    return subject


def register(subject: Supervised, *listed: Replica) -> None:
    """
    Register exactly these replicas and wait until all workers have them.
    """
    applied, old = len(subject.log_lines("reload.applied")), {*subject.nginx_workers()}
    subject.offer(*listed)
    wait_for_reloads(subject, applied + 1, old)


@nginxes
@pytest.mark.parametrize("key", REQUESTS)
def test_a_key_stays_with_its_endpoint(
    supervise: Supervise, replicas: Replicas, nginx: str, key: str
) -> None:
    """
    The same header, cookie, URI or address reaches the same endpoint in every order of servers
    after a reload.  When an endpoint leaves, only its own clients move, and they return with it.
    """
    *served, visitor = replicas("a", "b", "c", "d", "visitor")
    subject = started(supervise, nginx, served, LB_METHOD="hash", LB_HASH_KEY=key)

    def endpoints_by_client() -> dict[int, str]:
        return {n: REQUESTS[key](subject.port, n).text for n in CLIENTS}

    before = endpoints_by_client()
    assert {"a", "b", "c", "d"} == {*before.values()}
    first = order(subject)
    rotate(subject, served, visitor)
    assert first != order(subject)
    assert before == endpoints_by_client()

    register(subject, *served[1:])
    without = endpoints_by_client()
    assert {n: name for n, name in before.items() if name != "a"} == {
        n: name for n, name in without.items() if before[n] != "a"
    }
    assert "a" not in without.values()
    register(subject, *served)
    assert before == endpoints_by_client()


@nginxes
def test_requests_without_a_key_are_spread(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    Requests without the header do not all reach one endpoint.
    """
    subject = started(
        supervise, nginx, replicas("a", "b", "c"), LB_METHOD="hash", LB_HASH_KEY="header:X-User"
    )
    answered = Counter(subject.get().text for _ in range(60))

    assert {"a", "b", "c"} == answered.keys()
    assert min(answered.values()) >= 10


@nginxes
def test_a_key_of_a_failed_endpoint_is_served_by_another(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    While the endpoint is still listed the client is answered by another, and it returns when the
    endpoint does.
    """
    served = replicas("a", "b")
    options = {"LB_METHOD": "hash", "LB_HASH_KEY": "header:X-User", "HEALTH_CHECK": "off"}
    subject = started(supervise, nginx, served, **options)
    request = REQUESTS["header:X-User"]
    of_a = [n for n in CLIENTS if request(subject.port, n).text == "a"]
    assert of_a
    served[0].stop()
    assert {"b"} == {request(subject.port, n).text for n in of_a}
    served[0].start()
    assert {"a"} == {request(subject.port, n).text for n in of_a}


@nginxes
def test_an_address_stays_with_its_endpoint_by_ip_hash(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    ip_hash depends on the order of servers, which must not rotate with reloads, or every client
    would move.  nginx takes the first three bytes of an IPv4 address as the client.
    """
    *served, visitor = replicas("a", "b", "c", "visitor")
    subject = started(supervise, nginx, served, LB_METHOD="ip_hash")

    def endpoints_by_client() -> dict[int, str]:
        return {n: from_address(subject.port, f"127.0.{n}.1").text for n in CLIENTS}

    before = endpoints_by_client()
    assert {"a", "b", "c"} == {*before.values()}
    for _ in range(2):
        rotate(subject, served, visitor)
        assert before == endpoints_by_client()


def rotate(subject: Supervised, served: list[Replica], visitor: Replica) -> None:
    """
    Rotate the order of servers by adding and removing one.
    """
    before = order(subject)
    register(subject, *served, visitor)
    register(subject, *served)
    assert sorted(before) == sorted(order(subject))
    reload(subject)


def order(subject: Supervised) -> list[str]:
    """
    Return the servers in the order of the live configuration.
    """
    text = (subject.home / "run/conf/upstream.conf").read_text()
    return re.findall(r"^    server (\S+)", text, re.MULTILINE)


def cookie_of(answer: Answer) -> str:
    """
    Return the cookie that a response sets, as a client returns it; empty if it sets none.
    """
    jar = SimpleCookie(answer.headers.get("Set-Cookie"))
    return "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())


@with_cookies
def test_a_cookie_stays_with_its_endpoint(supervise: Supervise, replicas: Replicas) -> None:
    """
    With STICKY=cookie the first response names the endpoint, and a client with the cookie stays
    with it across reloads, in every order of servers.

    Scripts cannot read it, it is for all paths, and it expires with the browser session.
    """
    *served, visitor = replicas("a", "b", "c", "visitor")
    subject = started(supervise, current(), served, STICKY="cookie")
    clients = {}
    for _ in CLIENTS:
        first = subject.get()
        assert re.fullmatch(
            "autoexit=[0-9a-f]+; httponly; samesite=lax; path=/",
            first.headers["Set-Cookie"],
            re.IGNORECASE,
        )
        clients.setdefault(cookie_of(first), first.text)
    assert {"a", "b", "c"} == {*clients.values()}
    assert 3 == len(clients)
    first_order = order(subject)
    rotate(subject, served, visitor)
    assert first_order != order(subject)
    for cookie, endpoint in clients.items():
        assert {endpoint} == {subject.get(headers={"Cookie": cookie}).text for _ in range(5)}


@with_cookies
def test_a_cookie_of_a_removed_endpoint_is_replaced(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    The client is answered by another endpoint and gets its cookie.  A failed endpoint that is still
    listed loses no request either, and an invalid cookie is ignored.
    """
    served = replicas("a", "b", "c")
    subject = started(supervise, current(), served, STICKY="cookie", HEALTH_INTERVAL="1h")
    cookies: dict[str, str] = {}
    for _ in CLIENTS:
        answer = subject.get()
        cookies[answer.text] = cookie_of(answer)
    register(subject, *served[1:])
    moved = subject.get(headers={"Cookie": cookies["a"]})
    assert moved.text in {"b", "c"}
    assert cookies[moved.text] == cookie_of(moved)
    assert {moved.text} == {
        subject.get(headers={"Cookie": cookies[moved.text]}).text for _ in range(10)
    }

    served[1].stop()
    assert {"c"} == {subject.get(headers={"Cookie": cookies["b"]}).text for _ in range(5)}
    for invalid in ("autoexit=", "autoexit=zz", "autoexit=" + "f" * 4000, "autoexit=%00;x"):
        assert 200 == subject.get(headers={"Cookie": invalid}).status


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_cookie_without_support_in_nginx_fails_the_start(
    supervise: Supervise, command: str
) -> None:
    """
    `run` and `check` exit with 78 and report both versions.
    """
    found = subprocess.run(
        [shutil.which("nginx") or "/usr/sbin/nginx", "-v"],
        capture_output=True,
        text=True,
        check=True,
    )
    version = re.search(r"/([0-9.]+)", found.stderr.removeprefix("nginx version:"))
    assert version
    if tuple(map(int, version[1].split("."))) >= (1, 29, 6):
        pytest.skip("the distribution's nginx supports it")
    with Supervised(pid1=False, STICKY="cookie") as subject:
        if command == "run":
            assert 78 == subject.wait()
            errors = "\n".join(subject.errors)
            assert 78 == (subject.ended or {})["code"]
        else:
            done = subprocess.run(
                [sys.executable, "-m", "supervisor", "check"],
                cwd=CHECKOUT,
                env={
                    "PATH": "/usr/sbin:/usr/bin:/bin",
                    "ENDPOINTS": "10.0.0.1:1",
                    "STICKY": "cookie",
                },
                capture_output=True,
                text=True,
                check=False,
            )
            assert 78 == done.returncode
            errors = done.stderr
    assert f"needs nginx 1.29.6 or newer, this is {version[1]}" in errors
