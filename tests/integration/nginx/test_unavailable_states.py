import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from supervisor.core.model import Endpoint, Mode, Plan, ServerOptions
from tests.support.client import Answer, connect, get, read_answer, request_bytes
from tests.support.listening import Listener
from tests.support.nginxes import BOTH
from tests.support.rendered import running
from tests.support.replica import Replica
from tests.support.waiting import free_port
from tests.support.wire import Reply, read_request

SUNSET = 1_800_000_000
DATE = "Fri, 15 Jan 2027 08:00:00 GMT"
REFUSING = {Mode.STARTING: 1, Mode.NO_ENDPOINTS: 5, Mode.UNHEALTHY: 5, Mode.DRAINING: 5}

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"}
PROGRAMS: list[dict[str, str]] = [{}, {"Accept": "*/*"}, {"Accept": "application/json, text/plain"}]

nginxes = pytest.mark.parametrize("nginx", BOTH)


@contextmanager
def answering(reply: Reply) -> Iterator[Endpoint]:
    """
    A replica that gives one answer to whatever it is asked; a path that is a number is its status.
    """

    def attend(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while request := read_request(stream):
                asked = request.path.removeprefix("/")
                status = int(asked) if asked.isdigit() else reply.status
                connection.sendall(replace(reply, status=status).encode())

    listener = Listener(("127.0.0.1", 0), attend)
    listener.open()
    try:
        assert isinstance(listener.address, tuple)
        yield Endpoint(*listener.address)
    finally:
        listener.close()


def serving(*endpoints: Endpoint, mode: Mode = Mode.SERVE, sunset: int | None = SUNSET) -> Plan:
    """
    Return a plan that serves these.
    """
    return Plan(tuple(sorted(endpoints)), mode, (), sunset)


def headers(answer: Answer) -> dict[str, list[str]]:
    """
    Return all headers but those of each single answer, with every value they have.
    """
    changing = {"date", "connection", "server"}
    names = {name.lower() for name in answer.headers} - changing
    return {name: answer.headers.get_all(name, []) for name in names}


@nginxes
@pytest.mark.parametrize("mode", REFUSING)
def test_a_program_reads_the_state(nginx: str, mode: Mode) -> None:
    """
    Nobody serves: 503 on every path with the state and its end as JSON, when to ask again, and not
    one header twice; whatever the end of the path would make of the type.
    """
    body = {"state": mode, "expires_at": "2027-01-15T08:00:00Z"}
    expected = {
        "content-type": ["application/json"],
        "retry-after": [str(REFUSING[mode])],
        "cache-control": ["no-store"],
        "vary": ["Accept"],
        "sunset": [DATE],
        "content-length": [str(len(json.dumps(body)) + 1)],
    }
    with running(nginx, Plan((), mode, sunset=SUNSET)) as port:
        for accept in PROGRAMS:
            for path in ("/", "/v2/models/x/predict?a=b", "/index.html", "/a.jpg"):
                answer = get(port, path, headers=accept)
                assert 503 == answer.status
                assert body == json.loads(answer.text)
                assert expected == headers(answer)


@nginxes
@pytest.mark.parametrize("mode", REFUSING)
def test_a_person_reads_a_page(nginx: str, mode: Mode) -> None:
    """
    Who asks for HTML gets some, with the same status and headers.
    """
    with running(nginx, Plan((), mode, sunset=SUNSET)) as port:
        for accept in (BROWSER, {"Accept": "TEXT/HTML"}):
            for path in ("/", "/a.json"):
                answer = get(port, path, headers=accept)
                assert 503 == answer.status
                assert ["text/html; charset=utf-8"] == headers(answer)["content-type"]
                assert [str(REFUSING[mode])] == headers(answer)["retry-after"]
                assert (["Accept"], ["no-store"]) == (
                    headers(answer)["vary"],
                    headers(answer)["cache-control"],
                )
                assert [DATE] == headers(answer)["sunset"]
                assert answer.text.startswith("<!doctype html>\n")
                assert answer.text.endswith("</html>\n")
                assert f"503 {mode}" in answer.text


@nginxes
def test_a_state_without_an_end_has_none(nginx: str) -> None:
    """
    TTL=never: no header, and null in the body.
    """
    with running(nginx, Plan((), Mode.STARTING)) as port:
        answer = get(port)
        assert {"state": "starting", "expires_at": None} == json.loads(answer.text)
        assert "sunset" not in headers(answer)
        assert "sunset" not in headers(get(port, "/-/ready"))


@nginxes
def test_every_method_is_told_the_state(nginx: str) -> None:
    """
    HEAD has the headers of GET and no body.
    """
    with running(nginx, Plan((), Mode.UNHEALTHY, sunset=SUNSET)) as port:
        for accept in ({}, BROWSER):
            whole = get(port, headers=accept)
            head = get(port, method="HEAD", headers=accept)
            assert (503, headers(whole), b"") == (head.status, headers(head), head.body)
            for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"):
                answer = get(port, method=method, headers=accept, body=b"x")
                assert (503, whole.body) == (answer.status, answer.body)


@nginxes
@pytest.mark.parametrize("size", ["0", "1k"])
def test_a_large_body_is_not_waited_for(nginx: str, size: str) -> None:
    """
    The state is told while the body is still on its way, and however large it may be; a client that
    sends all of it before it reads gets it as well.
    """
    plan = Plan((), Mode.STARTING)
    with running(nginx, plan, {"MAX_BODY_SIZE": size}) as port:
        for length in ("Content-Length: 1000000000", "Transfer-Encoding: chunked"):
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n"
            with connect(port, timeout=2) as connection:
                connection.sendall(head.encode() + b"10000\r\n" + b"x" * 65536)
                answer = read_answer(connection)
            assert (503, "starting") == (answer.status, json.loads(answer.text)["state"])
        assert 503 == get(port, method="POST", body=b"x" * (8 << 20)).status


@nginxes
def test_a_kept_connection_survives_being_refused(nginx: str) -> None:
    """
    A client may ask again where it asked before, its body being read and thrown away.
    """
    request = request_bytes("/", "POST", b"x" * 100_000, {"Connection": "keep-alive"})
    with running(nginx, Plan((), Mode.STARTING)) as port, connect(port) as connection:
        connection.sendall(request)
        first = read_answer(connection)
        assert 503 == first.status
        if first.headers["Connection"] != "close":
            connection.sendall(request)
            assert 503 == read_answer(connection).status


@nginxes
def test_readiness_is_plain_text(nginx: str) -> None:
    """
    200 while it serves, 503 with the state otherwise, for programs and browsers alike; before the
    deadline it says `draining` while requests still work.
    """
    with answering(Reply(200, b"served")) as endpoint:
        plans = [*(Plan((), mode, sunset=SUNSET) for mode in REFUSING), serving(endpoint)]
        for plan in [*plans, serving(endpoint, mode=Mode.DRAINING)]:
            is_ready = bool(plan.endpoints) and plan.mode == "serve"
            with running(nginx, plan, {"READY_PATH": "/ready.html"}) as port:
                for accept in ({}, BROWSER):
                    answer = get(port, "/ready.html", headers=accept)
                    assert (200 if is_ready else 503) == answer.status
                    assert ("ready\n" if is_ready else f"{plan.mode}\n") == answer.text
                    assert ["text/plain"] == headers(answer)["content-type"]
                    assert ["no-store"] == headers(answer)["cache-control"]
                    assert [DATE] == headers(answer)["sunset"]
                assert ("served" == get(port).text) == bool(plan.endpoints)


@nginxes
def test_what_a_replica_answers_passes_as_it_is(nginx: str) -> None:
    """
    Its own errors too, with body and headers; the deadline is added, and nothing of ours besides.
    """
    own = {"Content-Type": "text/x", "Retry-After": "77", "Vary": "Cookie", "X-Own": "1"}
    expected = {name.lower(): [value] for name, value in own.items()}
    expected |= {"content-length": ["9"], "sunset": [DATE]}
    reply = Reply(200, b"own words", own)
    with answering(reply) as endpoint, running(nginx, serving(endpoint)) as port:
        for status in (200, 404, 429, 500, 502, 503, 504):
            for accept in ({}, BROWSER):
                answer = get(port, f"/{status}", headers=accept)
                assert (status, b"own words") == (answer.status, answer.body)
                assert expected == headers(answer)


@nginxes
def test_a_replica_that_is_gone_is_told_by_nginx(nginx: str) -> None:
    """
    The answer carries the deadline as every other.
    """
    with running(nginx, serving(Endpoint("127.0.0.1", free_port()))) as port:
        answer = get(port)
        assert (502, [DATE]) == (answer.status, headers(answer)["sunset"])


@nginxes
@pytest.mark.parametrize(
    "sunset, setting, told",
    [(SUNSET, "true", [DATE]), (SUNSET, "false", ["theirs"]), (None, "true", ["theirs"])],
)
def test_the_deadline_is_told_once(
    nginx: str, sunset: int | None, setting: str, told: list[str]
) -> None:
    """
    A replica may have an idea of its own: ours is the certain one, and where none is told theirs is
    left alone.
    """
    with answering(Reply(200, b"", {"Sunset": "theirs"})) as endpoint:
        plan = serving(endpoint, sunset=sunset)
        with running(nginx, plan, {"SUNSET_HEADER": setting}) as port:
            assert told == headers(get(port))["sunset"]


@nginxes
def test_the_header_can_be_dropped(nginx: str) -> None:
    """
    SUNSET_HEADER=false: on no answer of ours; the body of a 503 still says it, to who reads that.
    """
    with running(nginx, Plan((), Mode.STARTING, sunset=SUNSET), {"SUNSET_HEADER": "false"}) as port:
        for path in ("/", "/-/ready"):
            assert "sunset" not in headers(get(port, path))
        assert "2027-01-15T08:00:00Z" == json.loads(get(port).text)["expires_at"]


OPERATOR = {
    "conf.d/a.conf": b"map $uri $operators { default 1; }\n",
    "server.d/a.conf": b"""
        add_header X-All $operators always;
        proxy_hide_header X-Secret;
        location = /own { add_header X-Own 1; return 200 own; }
        location /plain { return 200 plain; }
        location /theirs { proxy_pass http://service; add_header X-Own 2; }
    """,
}


@nginxes
def test_operators_headers_stand_beside_the_deadline(nginx: str) -> None:
    """
    Those in server.d count for every proxied answer, and for their own locations by nginx's rules.
    """
    reply = Reply(200, b"served", {"X-Secret": "x", "Sunset": "theirs"})
    with answering(reply) as endpoint, running(nginx, serving(endpoint), operator=OPERATOR) as port:
        served = headers(get(port))
        assert ([DATE], ["1"]) == (served["sunset"], served["x-all"])
        assert "x-secret" not in served
        plain, own = headers(get(port, "/plain")), headers(get(port, "/own"))
        assert ([DATE], ["1"]) == (plain["sunset"], plain["x-all"])
        assert (["1"], None) == (own["x-own"], own.get("x-all"))
        assert "served" == get(port, "/theirs").text


@nginxes
def test_weights_share_the_requests(nginx: str, replicas: Callable[..., list[Replica]]) -> None:
    """
    A replica of weight 3 gets three times what one of weight 1 gets.
    """
    heavy, light = replicas("heavy", "light")
    served = tuple(sorted(Endpoint(*each.endpoint) for each in (heavy, light)))
    plan = Plan(served, Mode.SERVE, ((Endpoint(*heavy.endpoint), ServerOptions(3)),))
    with running(nginx, plan, {"LB_METHOD": "round_robin"}) as port:
        assert Counter(heavy=30, light=10) == Counter(get(port).text for _ in range(40))


@nginxes
@pytest.mark.parametrize("method", ["round_robin", "least_conn"])
def test_a_backup_waits_until_it_is_needed(
    nginx: str, method: str, replicas: Callable[..., list[Replica]]
) -> None:
    """
    It gets nothing while another replica answers, and everything once none does.
    """
    first, second = replicas("first", "second")
    served = tuple(sorted(Endpoint(*each.endpoint) for each in (first, second)))
    plan = Plan(served, Mode.SERVE, ((Endpoint(*second.endpoint), ServerOptions(backup=True)),))
    with running(nginx, plan, {"LB_METHOD": method}) as port:
        assert {"first"} == {get(port).text for _ in range(20)}
        first.stop()
        assert {"second"} == {get(port).text for _ in range(20)}
