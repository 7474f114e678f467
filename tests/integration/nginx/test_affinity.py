"""
Clients that stay with their endpoint: by hash, by address, by cookie.
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
#: What tells the clients apart, by the key: headers, a path, or an address to ask from.
ASKS: dict[str, Callable[[int, int], Answer]] = {
    "header:X-User": lambda port, n: get(port, headers={"X-User": f"user-{n}"}),
    "cookie:session": lambda port, n: get(port, headers={"Cookie": f"a=1; session=s{n}; b=2"}),
    "uri": lambda port, n: get(port, f"/models/{n}?v=1"),
    "ip": lambda port, n: from_address(port, f"127.0.0.{n + 10}"),
}


def from_address(port: int, source: str) -> Answer:
    """
    Ask from another of this machine's own addresses.
    """
    with socket.create_connection(("127.0.0.1", port), 5, (source, 0)) as connection:
        connection.sendall(request_bytes("/"))
        return read_answer(connection)


def started(supervise: Supervise, nginx: str, served: list[Replica], **options: str) -> Supervised:
    """
    Return the program once it serves all of these.
    """
    subject = supervise(pid1=False, NGINX_BINARY=nginx, **FAST_RELOADS, **options)
    subject.offer(*served)
    subject.wait_for_log("reload.applied", mode="serve", endpoints=len(served))
    return subject


def now_listed(subject: Supervised, *listed: Replica) -> None:
    """
    Let exactly these be in the registry, and wait until all workers know it.
    """
    applied, old = len(subject.log_lines("reload.applied")), {*subject.nginx_workers()}
    subject.offer(*listed)
    wait_for_reloads(subject, applied + 1, old)


@nginxes
@pytest.mark.parametrize("key", ASKS)
def test_a_key_stays_with_its_endpoint(
    supervise: Supervise, replicas: Replicas, nginx: str, key: str
) -> None:
    """
    The same header, cookie, URI or address goes to the same endpoint, whatever the order of the
    servers after a reload; when one endpoint leaves, only its own clients move, and they come back
    with it.
    """
    *served, visitor = replicas("a", "b", "c", "d", "visitor")
    subject = started(supervise, nginx, served, LB_METHOD="hash", LB_HASH_KEY=key)

    def homes() -> dict[int, str]:
        return {n: ASKS[key](subject.port, n).text for n in CLIENTS}

    before = homes()
    assert {"a", "b", "c", "d"} == {*before.values()}
    first = order(subject)
    turns(subject, served, visitor)
    assert first != order(subject)
    assert before == homes()

    now_listed(subject, *served[1:])
    without = homes()
    assert {n: home for n, home in before.items() if home != "a"} == {
        n: home for n, home in without.items() if before[n] != "a"
    }
    assert "a" not in without.values()
    now_listed(subject, *served)
    assert before == homes()


@nginxes
def test_who_brings_no_key_goes_anywhere(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    Without the header requests spread: they do not all meet at one endpoint.
    """
    subject = started(
        supervise, nginx, replicas("a", "b", "c"), LB_METHOD="hash", LB_HASH_KEY="header:X-User"
    )
    answered = Counter(subject.get().text for _ in range(60))

    assert {"a", "b", "c"} == answered.keys()
    assert min(answered.values()) >= 10


@nginxes
def test_a_key_whose_endpoint_is_dead_is_served_by_another(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    Still listed and gone: the client is answered at once, and is back as soon as its endpoint is.
    """
    served = replicas("a", "b")
    options = {"LB_METHOD": "hash", "LB_HASH_KEY": "header:X-User", "HEALTH_INTERVAL": "1h"}
    subject = started(supervise, nginx, served, **options)
    ask = ASKS["header:X-User"]
    of_a = [n for n in CLIENTS if ask(subject.port, n).text == "a"]
    assert of_a
    served[0].stop()
    assert {"b"} == {ask(subject.port, n).text for n in of_a}
    served[0].start()
    assert {"a"} == {ask(subject.port, n).text for n in of_a}


@nginxes
def test_an_address_stays_with_its_endpoint_by_ip_hash(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    ip_hash counts the servers from the first: their order must not turn with the reloads, or every
    client would move.  The first three numbers of an IPv4 address are a client, as nginx has it.
    """
    *served, visitor = replicas("a", "b", "c", "visitor")
    subject = started(supervise, nginx, served, LB_METHOD="ip_hash")

    def homes() -> dict[int, str]:
        return {n: from_address(subject.port, f"127.0.{n}.1").text for n in CLIENTS}

    before = homes()
    assert {"a", "b", "c"} == {*before.values()}
    for _ in range(2):
        turns(subject, served, visitor)
        assert before == homes()


def turns(subject: Supervised, served: list[Replica], visitor: Replica) -> None:
    """
    Have the order of the servers turn: by one that comes and goes.
    """
    before = order(subject)
    now_listed(subject, *served, visitor)
    now_listed(subject, *served)
    assert sorted(before) == sorted(order(subject))
    reload(subject)


def order(subject: Supervised) -> list[str]:
    """
    Return the servers as they stand in the live configuration.
    """
    text = (subject.home / "run/conf/upstream.conf").read_text()
    return re.findall(r"^    server (\S+)", text, re.MULTILINE)


def cookie_of(answer: Answer) -> str:
    """
    Return the cookie that an answer sets, as a client sends it back; nothing where it sets none.
    """
    jar = SimpleCookie(answer.headers.get("Set-Cookie"))
    return "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())


@with_cookies
def test_a_cookie_stays_with_its_endpoint(supervise: Supervise, replicas: Replicas) -> None:
    """
    STICKY=cookie: the first answer names the endpoint, and whoever brings the cookie stays with it
    over reloads and whatever the order of the servers.

    No script can read it, it is for all paths, and it ends with the browser.
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
    turns(subject, served, visitor)
    assert first_order != order(subject)
    for cookie, home in clients.items():
        assert {home} == {subject.get(headers={"Cookie": cookie}).text for _ in range(5)}


@with_cookies
def test_a_cookie_of_who_left_leads_to_another(supervise: Supervise, replicas: Replicas) -> None:
    """
    The client is answered by another endpoint and given that one's cookie; a dead endpoint that is
    still listed loses no request either, and nonsense is no cookie.
    """
    served = replicas("a", "b", "c")
    subject = started(supervise, current(), served, STICKY="cookie", HEALTH_INTERVAL="1h")
    cookies: dict[str, str] = {}
    for _ in CLIENTS:
        answer = subject.get()
        cookies[answer.text] = cookie_of(answer)
    now_listed(subject, *served[1:])
    moved = subject.get(headers={"Cookie": cookies["a"]})
    assert moved.text in {"b", "c"}
    assert cookies[moved.text] == cookie_of(moved)
    assert {moved.text} == {
        subject.get(headers={"Cookie": cookies[moved.text]}).text for _ in range(10)
    }

    served[1].stop()
    assert {"c"} == {subject.get(headers={"Cookie": cookies["b"]}).text for _ in range(5)}
    for nonsense in ("autoexit=", "autoexit=zz", "autoexit=" + "f" * 4000, "autoexit=%00;x"):
        assert 200 == subject.get(headers={"Cookie": nonsense}).status


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_cookie_that_this_nginx_cannot_set_ends_the_start(
    supervise: Supervise, command: str
) -> None:
    """
    78 and a line with both versions, from a start as from a check, before anything listens.
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
        pytest.skip("the distribution's nginx can")
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
    assert f"nginx 1.29.6 or newer can do that, this is {version[1]}" in errors
