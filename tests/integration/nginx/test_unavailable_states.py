import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from supervisor.core.model import Endpoint, Mode, Plan, ServerOptions
from tests.support.client import Answer, connect, get, read_answer, request_bytes
from tests.support.listening import listening
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
    Yield a replica that gives one response to all requests; a numeric path sets the status.
    """

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while request := read_request(stream):
                path = request.path.removeprefix("/")
                status = int(path) if path.isdigit() else reply.status
                connection.sendall(replace(reply, status=status).encode())

    with listening(serve) as address:
        yield Endpoint(*address)


def serving(*endpoints: Endpoint, mode: Mode = Mode.SERVE, sunset: int | None = SUNSET) -> Plan:
    """
    Return a plan that serves these endpoints.
    """
    return Plan(tuple(sorted(endpoints)), mode, (), sunset)


def headers(answer: Answer) -> dict[str, list[str]]:
    """
    Return all values of all headers, except headers that differ between responses.
    """
    changing = {"date", "connection", "server"}
    names = {name.lower() for name in answer.headers} - changing
    return {name: answer.headers.get_all(name, []) for name in names}


@nginxes
@pytest.mark.parametrize("mode", REFUSING)
def test_programs_get_the_state_as_json(nginx: str, mode: Mode) -> None:
    """
    Without endpoints every path returns 503 with the state and the deadline as JSON and
    Retry-After, no header twice, and the same type for every file suffix.
    """
    body = {"state": mode, "expires_at": "2027-01-15T08:00:00Z"}
    expected = {
        "content-type": ["application/json"],
        "retry-after": [str(REFUSING[mode])],
        "cache-control": ["no-store"],
        "vary": ["Accept, Origin"],
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
def test_browsers_get_a_page(nginx: str, mode: Mode) -> None:
    """
    A request that accepts HTML gets HTML with the same status and headers.
    """
    with running(nginx, Plan((), mode, sunset=SUNSET)) as port:
        for accept in (BROWSER, {"Accept": "TEXT/HTML"}):
            for path in ("/", "/a.json"):
                answer = get(port, path, headers=accept)
                assert 503 == answer.status
                assert ["text/html; charset=utf-8"] == headers(answer)["content-type"]
                assert [str(REFUSING[mode])] == headers(answer)["retry-after"]
                assert (["Accept, Origin"], ["no-store"]) == (
                    headers(answer)["vary"],
                    headers(answer)["cache-control"],
                )
                assert [DATE] == headers(answer)["sunset"]
                assert answer.text.startswith("<!doctype html>\n")
                assert answer.text.endswith("</html>\n")
                assert f"503 {mode}" in answer.text


@nginxes
def test_without_a_deadline_there_is_no_sunset(nginx: str) -> None:
    """
    With TTL=never there is no header, and the body holds null.
    """
    with running(nginx, Plan((), Mode.STARTING)) as port:
        answer = get(port)
        assert {"state": "starting", "expires_at": None} == json.loads(answer.text)
        assert "sunset" not in headers(answer)
        assert "sunset" not in headers(get(port, "/-/ready"))


@nginxes
def test_every_method_gets_the_state(nginx: str) -> None:
    """
    HEAD gets the headers of GET without the body.
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
@pytest.mark.parametrize("mode", REFUSING)
def test_a_page_of_another_origin_can_read_the_state(nginx: str, mode: Mode) -> None:
    """
    A browser sends a preflight before such a page's request, requires a good status and the headers
    that allow it, and shows the page what the response allows: here the state and Retry-After.
    """
    origin = {"Origin": "https://ui.example"}
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    with running(nginx, Plan((), mode, sunset=SUNSET), {"MAX_BODY_SIZE": "1k"}) as port:
        preflight = get(port, "/v1/chat", method="OPTIONS", headers={**origin, **asked})
        assert (204, b"") == (preflight.status, preflight.body)
        assert {
            "access-control-allow-origin": ["https://ui.example"],
            "access-control-allow-methods": ["POST"],
            "access-control-allow-headers": ["authorization,content-type"],
            "access-control-max-age": ["0"],
            "cache-control": ["no-store"],
            "vary": ["Origin"],
        } == headers(preflight)

        answer = get(port, "/v1/chat", method="POST", headers=origin, body=b"{}")
        assert (503, mode) == (answer.status, json.loads(answer.text)["state"])
        found = headers(answer)
        assert ["https://ui.example"] == found["access-control-allow-origin"]
        assert ["true"] == found["access-control-allow-credentials"]
        assert ["Retry-After, Sunset"] == found["access-control-expose-headers"]
        assert ["Accept, Origin"] == found["vary"]


@nginxes
def test_only_a_preflight_is_answered_as_one(
    nginx: str, replicas: Callable[..., list[Replica]]
) -> None:
    """
    OPTIONS without its headers is 503 as any method, and with replicas a preflight is theirs.
    """
    (one,) = replicas("one")
    asked = {"Origin": "https://ui.example", "Access-Control-Request-Method": "POST"}
    with running(nginx, Plan((), Mode.STARTING)) as port:
        for name, value in asked.items():
            assert 503 == get(port, method="OPTIONS", headers={name: value}).status
        assert 503 == get(port, headers=asked).status
    with running(nginx, serving(Endpoint(*one.endpoint))) as port:
        answer = get(port, method="OPTIONS", headers=asked)
        assert (200, "one") == (answer.status, answer.text)
        assert "access-control-allow-origin" not in headers(answer)


@nginxes
@pytest.mark.parametrize("size", ["0", "1k"])
def test_a_large_body_is_not_waited_for(nginx: str, size: str) -> None:
    """
    The response is sent before the body is complete, whatever its size; a client that sends the
    whole body before it reads gets the response as well.
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
def test_a_kept_connection_survives_a_503(nginx: str) -> None:
    """
    The client can reuse the connection, because the body is read and discarded.
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
    It is 200 while endpoints serve and else 503 with the state, for programs and browsers alike;
    before the deadline it is `draining` while requests still work.
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
def test_a_replicas_response_is_unchanged(nginx: str) -> None:
    """
    Its errors too are passed on with body and headers; only the Sunset header is added.
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
def test_a_502_has_the_deadline(nginx: str) -> None:
    """
    Nginx's response for a failed replica has the Sunset header as well.
    """
    with running(nginx, serving(Endpoint("127.0.0.1", free_port()))) as port:
        answer = get(port)
        assert (502, [DATE]) == (answer.status, headers(answer)["sunset"])


@nginxes
@pytest.mark.parametrize(
    "sunset, setting, expected",
    [(SUNSET, "true", [DATE]), (SUNSET, "false", ["theirs"]), (None, "true", ["theirs"])],
)
def test_the_sunset_header_is_sent_once(
    nginx: str, sunset: int | None, setting: str, expected: list[str]
) -> None:
    """
    A replica's own Sunset header is replaced by ours and left alone without one.
    """
    with answering(Reply(200, b"", {"Sunset": "theirs"})) as endpoint:
        plan = serving(endpoint, sunset=sunset)
        with running(nginx, plan, {"SUNSET_HEADER": setting}) as port:
            assert expected == headers(get(port))["sunset"]


@nginxes
def test_the_sunset_header_can_be_disabled(nginx: str) -> None:
    """
    With SUNSET_HEADER=false no response has it; the body of a 503 still holds the deadline.
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
def test_operator_headers_are_added_beside_sunset(nginx: str) -> None:
    """
    Headers in server.d apply to all proxied responses, and to own locations by nginx's rules.
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
def test_weights_distribute_the_requests(
    nginx: str, replicas: Callable[..., list[Replica]]
) -> None:
    """
    A replica of weight 3 gets three times the requests of one of weight 1.
    """
    heavy, light = replicas("heavy", "light")
    served = tuple(sorted(Endpoint(*each.endpoint) for each in (heavy, light)))
    plan = Plan(served, Mode.SERVE, ((Endpoint(*heavy.endpoint), ServerOptions(3)),))
    with running(nginx, plan, {"LB_METHOD": "round_robin"}) as port:
        assert Counter(heavy=30, light=10) == Counter(get(port).text for _ in range(40))


@nginxes
@pytest.mark.parametrize("method", ["round_robin", "least_conn"])
def test_a_backup_serves_only_when_needed(
    nginx: str, method: str, replicas: Callable[..., list[Replica]]
) -> None:
    """
    It gets no requests while another replica responds, and all of them when none does.
    """
    first, second = replicas("first", "second")
    served = tuple(sorted(Endpoint(*each.endpoint) for each in (first, second)))
    plan = Plan(served, Mode.SERVE, ((Endpoint(*second.endpoint), ServerOptions(backup=True)),))
    with running(nginx, plan, {"LB_METHOD": method}) as port:
        assert {"first"} == {get(port).text for _ in range(20)}
        first.stop()
        assert {"second"} == {get(port).text for _ in range(20)}
