"""
Which lines of nginx name an endpoint that it cannot reach, and when they are reported.
"""

import pytest

from supervisor.core.model import NEVER, Endpoint
from supervisor.nginx.failed_connections import _GAP, _MAX_SUSPECTS, Suspects, unreachable

REQUEST = 'client: 127.0.0.1, server: _, request: "GET / HTTP/1.1"'


@pytest.mark.parametrize(
    "failure",
    [
        "connect() failed (111: Connection refused) while connecting to upstream",
        "connect() failed (113: No route to host) while connecting to upstream",
        "recv() failed (104: Connection reset by peer) while reading response header from upstream",
        "writev() failed (32: Broken pipe) while sending request to upstream",
        "upstream prematurely closed connection while reading response header from upstream",
        "upstream timed out (110: Connection timed out) while connecting to upstream",
    ],
)
@pytest.mark.parametrize(
    "address, endpoint",
    [
        ("10.0.0.1:80", Endpoint("10.0.0.1", 80)),
        ("[fd00::5]:8000", Endpoint("fd00::5", 8000)),
        ("[fd00:0:0:1::5]:8000", Endpoint("fd00:0:0:1::5", 8000)),
    ],
)
def test_a_failed_connection_names_its_endpoint(
    failure: str, address: str, endpoint: Endpoint
) -> None:
    """
    Whatever failed, and with a path or without.
    """
    for number in ("", "*917 "):
        for path in ("/", "?x=1", ""):
            line = f'{number}{failure}, {REQUEST}, upstream: "http://{address}{path}", host: "h"'
            assert endpoint == unreachable(line)


@pytest.mark.parametrize(
    "line",
    [
        "worker process 12 exited on signal 9",
        "*1 connect() failed (111: Connection refused) while connecting to upstream",
        f'*1 upstream timed out (110: T) while reading response header, {REQUEST}, upstream: "http://10.0.0.1:80/"',
        f'*1 connect() failed (2: No), {REQUEST}, upstream: "http://unix:/run/current.sock:/"',
        f'*1 no live upstreams while connecting to upstream, {REQUEST}, upstream: "http://service/"',
        f'*1 connect() failed (111: R), {REQUEST}, upstream: "http://10.0.0.999:80/"',
        f'*1 access forbidden by rule, {REQUEST}, upstream: "http://10.0.0.1:80/"',
        'x connect() failed (111: R), upstream: "http://10.0.0.1:80/"',
    ],
)
def test_other_lines_name_none(line: str) -> None:
    """
    A slow response is no failed connection, and an internal socket is no endpoint.
    """
    assert unreachable(line) is None


def test_suspects_are_merged() -> None:
    """
    The first is reported at once, and then one event in each gap.
    """
    suspects = Suspects()
    assert NEVER == suspects.due
    assert frozenset() == suspects.take(100.0)
    one, two = Endpoint("10.0.0.1", 1), Endpoint("10.0.0.1", 2)
    suspects.add(one)
    assert frozenset({one}) == suspects.take(100.0)
    for _ in range(5000):
        suspects.add(one)
        suspects.add(two)
    assert frozenset() == suspects.take(100.0 + _GAP / 2)
    assert 100.0 + _GAP == suspects.due
    assert frozenset({one, two}) == suspects.take(100.0 + _GAP)
    assert NEVER == suspects.due


def test_their_number_is_limited() -> None:
    """
    A client can invent endpoints.
    """
    suspects = Suspects()
    for port in range(1, 2 * _MAX_SUSPECTS):
        suspects.add(Endpoint("10.0.0.1", port))

    assert _MAX_SUSPECTS == len(suspects.take(1.0))
