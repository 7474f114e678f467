"""
Which of nginx's error lines mean that a request ended with its replica.
"""

import pytest

from supervisor.nginx.lost_requests import LostRequests

REFUSED = "connect() failed (111: Connection refused) while connecting to upstream"
CLOSED = "upstream prematurely closed connection while reading response header from upstream"
RESET = "recv() failed (104: Connection reset by peer) while reading response header from upstream"
UNSENT = "writev() failed (32: Broken pipe) while sending request to upstream"
TRUNCATED = "upstream prematurely closed connection while reading upstream"
TUNNEL = "recv() failed (104: Connection reset by peer) while proxying upgraded connection"
NONE_LEFT = "no live upstreams while connecting to upstream"


def line(
    what: str, method: str = "GET", connection: int = 7, upstream: str = "http://10.0.0.1:1/"
) -> str:
    """
    Return a line as nginx writes it, with text of the client in its request.
    """
    return (
        f'*{connection} {what}, client: 10.9.9.9, server: _, request: "{method} /?*9 x HTTP/1.1", '
        f'upstream: "{upstream}", host: "a"'
    )


def count(*lines: str, endpoints: int = 2) -> int:
    """
    Return how many requests these lines of a drain count.
    """
    lost = LostRequests(clock=lambda: 0.0)
    lost.begin(endpoints)
    for each in lines:
        lost.record(each)
    return lost.count


@pytest.mark.parametrize("what", [REFUSED, CLOSED, RESET, UNSENT])
def test_a_request_that_nginx_repeats_is_lost_with_its_last_try(what: str) -> None:
    """
    One failure of two tries is repeated on another replica; with one endpoint it was the last.
    """
    assert [0, 1, 1] == [
        count(line(what)),
        count(line(what), line(what)),
        count(line(what), endpoints=1),
    ]


@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK"])
def test_a_request_that_must_not_be_repeated_is_lost(method: str) -> None:
    """
    Once it was sent; a refused connection is tried again for every method.
    """
    assert [1, 1, 0] == [count(line(what, method)) for what in (CLOSED, UNSENT, REFUSED)]


@pytest.mark.parametrize("what", [TRUNCATED, TUNNEL, NONE_LEFT])
def test_a_response_that_had_begun_is_lost(what: str) -> None:
    """
    It is truncated, whatever the method; without a live replica there is no try.
    """
    assert 1 == count(line(what))


def test_each_request_counts_once() -> None:
    """
    The two failures of one request are one loss, those of two requests two.
    """
    assert 1 == count(line(CLOSED, "POST"), line(CLOSED, "POST"))
    assert 2 == count(line(CLOSED, "POST", 7), line(CLOSED, "POST", 8))


def test_our_own_sockets() -> None:
    """
    A request that an old worker cannot pass on is lost; one of the admin port is no client's.
    """
    current = line(REFUSED, upstream="http://unix:/run/x/current.sock:/a")
    admin = line(REFUSED, upstream="http://unix:/run/x/readers.sock:/status")

    assert [1, 0] == [count(current), count(admin, admin)]


@pytest.mark.parametrize("text", ["", "*7 open() failed", "signal process started", REFUSED])
def test_other_lines_do_not_count(text: str) -> None:
    """
    Only lines that name a request and its upstream are failures.
    """
    assert 0 == count(text, endpoints=1)


def test_only_the_drain_and_the_second_before_it_count() -> None:
    """
    A replica may end a moment before the balancer's drain; what failed earlier is forgotten.
    """
    now = 0.0
    lost = LostRequests(clock=lambda: now)
    lost.record(line(CLOSED, "POST", 1))
    now = 1.5
    lost.record(line(CLOSED, "POST", 2))
    assert 0 == lost.count
    now = 2.0
    lost.begin(2)
    assert 1 == lost.count
    now = 30.0
    lost.record(line(CLOSED, "POST", 3))
    assert 2 == lost.count


def test_with_retry_post_a_sent_post_has_another_try() -> None:
    """
    With RETRY_POST nginx repeats a POST, so its first failure loses nothing and its second does.
    """
    lost = LostRequests(repeats_post=True, clock=lambda: 0.0)
    lost.begin(2)

    lost.record(line(RESET, "POST"))
    assert 0 == lost.count
    lost.record(line(RESET, "POST"))
    assert 1 == lost.count
