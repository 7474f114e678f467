"""
Random input to the admin port and the socket: no 5xx, and only valid requests change anything.
"""

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from tests.support.admin_subject import AdminSubject, running_with_admin
from tests.support.client import connect, get

METHODS = st.sampled_from(
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "X"]
)
ODD = st.text(st.characters(codec="ascii", exclude_characters=" \r\n"), min_size=1, max_size=40)
PATHS = ODD | st.sampled_from(
    [
        "/", "/status", "/metrics", "/healthz", "/readyz", "/deadline", "/stop", "/config",
        "//stop", "/./stop", "/status/../stop", "/%73top", "/stop%00", "/stop/", "/status/stop",
        "/STOP", "/stop?x", "/status?stop", "/status#stop", "*", "http://x/stop", "",
    ]
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Host", "X-HTTP-Method-Override", "X-Original-URL", "X-Rewrite-URL", "Upgrade",
            "Connection", "Expect", "Range", "Accept-Encoding", "If-Modified-Since", "Cookie",
        ]
    ),
    st.sampled_from(
        ["", "x", "supervisor.sock", "POST", "/stop", "h2c", "upgrade", "100-continue", "bytes=0-"]
    ),
    max_size=4,
)  # fmt: skip
NAMES = st.sampled_from(["by", "until", "ttl", "", "By", "deadline"])
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.sampled_from(["2h", "-1h", "never", "0", "1e9", "2h ", "1h1h1h", "\ud800", "9" * 500 + "d"]),
    st.lists(st.just("2h"), max_size=2),
)  # fmt: skip
BODIES = st.one_of(
    st.binary(max_size=200),
    st.dictionaries(NAMES, VALUES, max_size=3).map(lambda found: json.dumps(found).encode()),
    st.sampled_from([b"[" * 4000, b"{" * 4000, b'{"by": ' * 500, b"9" * 4000, b'"2h"', b"null"]),
)

fuzz = hypothesis(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def served() -> Iterator[AdminSubject]:
    """
    One program for all examples.
    """
    with running_with_admin("one", TTL="5h", DRAIN_TIMEOUT="1s") as subject:
        yield subject


def protected_fields(subject: AdminSubject) -> dict[str, Any]:
    """
    Return the parts of the status that only a valid request on the socket may change.
    """
    status = subject.status(subject.socket)
    fields = {name: status[name] for name in ("phase", "mode", "ready", "ending", "started_at")}
    fields["started_at"] = fields["started_at"][:16]  # it varies with the wall clock
    deadline = {name: status["deadline"][name] for name in ("at", "extended_to", "saved")}
    rows = [(row["address"], row["serving"]) for row in status["endpoints"]["rows"]]
    return {**fields, **deadline, "rows": rows}


def status_of(where: int | Path, sent: bytes) -> int | None:
    """
    Send bytes and return the status of the response, or None without one.
    """
    with connect(where, timeout=8) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        try:
            response = http.client.HTTPResponse(connection)
            with response:
                response.begin()
                response.read()
                return response.status
        except (http.client.HTTPException, OSError):
            return None


def request(method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """
    Return the bytes of a request.
    """
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in {"Host": "x", **headers}.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("utf-8", "replace") + body


@fuzz
@given(METHODS, PATHS, HEADERS, BODIES)
def test_nothing_changes_over_the_network(
    served: AdminSubject, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    """
    Any method, path, header and body to the admin port: no 5xx, and the status is unchanged.
    """
    before = protected_fields(served)
    status = status_of(served.admin_port, request(method, path, headers, body))

    assert status is None or status < 500 or (status == 405)
    assert before == protected_fields(served)


@fuzz
@given(METHODS, PATHS, HEADERS, BODIES)
def test_the_socket_performs_only_valid_requests(
    served: AdminSubject, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    """
    The same on the socket: a request that is not in the documented form changes nothing.
    """
    if method == "POST" and path.partition("?")[0] == "/stop":
        path = "/stopp"  # on the socket it would be valid
    before = protected_fields(served)
    status = status_of(served.socket, request(method, path, headers, body))

    assert status is None or status < 500
    after = protected_fields(served)
    if status == 200 and method == "POST":
        assert "/deadline" == path.partition("?")[0]
        fields = json.loads(body)
        assert [str] == [type(value) for value in fields.values()]
        return
    assert before == after


@fuzz
@given(st.binary(max_size=400))
def test_random_bytes_do_no_harm(served: AdminSubject, noise: bytes) -> None:
    """
    After random bytes to both, the next request is answered.
    """
    for where in (served.admin_port, served.socket):
        status = status_of(where, noise)
        assert status is None or status < 500
    assert 200 == get(served.socket, "/healthz").status


@fuzz
@given(
    st.one_of(
        st.fixed_dictionaries({"by": VALUES}),
        st.fixed_dictionaries({"until": VALUES}),
        st.dictionaries(NAMES, VALUES, max_size=3),
    )
)
def test_a_request_is_accepted_or_refused_with_a_reason(
    served: AdminSubject, fields: dict[str, Any]
) -> None:
    """
    200 with a new deadline, or 400 or 409 with the old one; each with a text.
    """
    before = protected_fields(served)
    body = json.dumps(fields).encode()
    answer = get(served.socket, "/deadline", method="POST", body=body, timeout=8)
    reply = json.loads(answer.text)

    assert {"accepted", "text"} == reply.keys()
    assert reply["text"]
    assert answer.status in {200, 400, 409}
    assert (answer.status == 200) == reply["accepted"]
    if answer.status != 200:
        assert before == protected_fields(served)
