"""
Nomad's responses to invalid requests and to too many connections: always in plain text.
"""

from contextlib import ExitStack

import pytest

from tests.support.client import connect, read_answer
from tests.support.nomad_api import Api
from tests.support.nomad_params import real_agents
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    "method,target,expected",
    [
        ("GET", "/v1/service/x?index=x", (400, "Invalid index")),
        ("GET", "/v1/service/x?index=-1", (400, "Invalid index")),
        ("GET", "/v1/service/x?wait=60", (400, "Invalid wait time")),
        ("GET", "/v1/service/x?region=mars", (500, "No path to region")),
        ("GET", "/v1/service/", (400, "missing service name")),
        ("GET", "/v1/service/a%2Fb", (405, "Invalid method")),
        ("PUT", "/v1/service/x", (405, "Invalid method")),
    ],
)
@pytest.mark.parametrize("token", [None, "junk"])
def test_over_tcp(
    api: Api, token: str | None, method: str, target: str, expected: tuple[int, str]
) -> None:
    """
    Over TCP an invalid request is detected before a wrong token.
    """
    answer = api.call(target, method=method, token=token)

    assert expected == (answer.status, answer.text)
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    "method,target,expected",
    [
        ("GET", "/v1/service/x?index=x", (400, "Invalid indexBad Request")),
        ("GET", "/v1/service/x?wait=60", (400, "Invalid wait timeBad Request")),
        ("GET", "/v1/service/x?region=mars", (500, "Server error authenticating request\n")),
        ("GET", "/v1/service/", (400, "missing service name")),
        ("PUT", "/v1/service/x", (405, "Invalid method")),
    ],
)
def test_on_the_socket(api: Api, method: str, target: str, expected: tuple[int, str]) -> None:
    """
    On the Task API an unknown region gets the same response as a malformed token.
    """
    answer = api.call(target, method=method, on=api.socket)

    assert expected == (answer.status, answer.text)


@pytest.mark.parametrize("token", ["", "junk"])
def test_numbers_come_first_on_the_socket(api: Api, token: str) -> None:
    """
    On the Task API an invalid number is detected before a wrong token.
    """
    statuses = [
        api.call(f"/v1/service/{rest}", token=token, on=api.socket).status
        for rest in ("x?index=x", "x?wait=60")
    ]

    assert [400, 400] == statuses


def test_a_filter(api: Api, web: str) -> None:
    """
    An invalid filter gets a 400, and never all rows.
    """
    answer = api.get_service(web, filter="zzz")

    assert 400 == answer.status
    assert answer.text.startswith("failed to create result paginator")


def test_a_double_slash(api: Api) -> None:
    """
    A path with a double slash gets a redirect.
    """
    for where in (api.port, api.socket):
        answer = api.call("//v1/service/x", on=where)

        assert (307, "/v1/service/x") == (answer.status, answer.headers["Location"])


def test_an_unknown_path(api: Api) -> None:
    """
    An unknown path gets a 404 with an empty body.
    """
    answer = api.call("/v1/nothing")

    assert (404, "") == (answer.status, answer.text)


@real_agents
def test_too_many_connections(api: Api) -> None:
    """
    More than 100 connections from one address over TCP get a 429 without Retry-After.
    """
    with ExitStack() as stack:
        for _ in range(101):
            last = stack.enter_context(connect(api.port))
        answer = read_answer(last)

    assert 429 == answer.status
    assert answer.text.startswith("Your IP is issuing too many concurrent connections")
    assert (None, "close") == (answer.headers["Retry-After"], answer.headers["Connection"])
    eventually(lambda: 200 == api.get_service("x").status)
