"""
A storm of nginx's error lines, through a real pipe.
"""

import os
import time
from collections.abc import Callable
from typing import Any

from supervisor.core.events import EndpointsSuspected, ProtocolRefused, WorkerDied
from supervisor.core.model import Endpoint
from supervisor.nginx.failed_connections import _GAP
from supervisor.nginx.output_reader import OutputReader
from tests.support.waiting import eventually

LINES = 20_000


def test_the_same_hint_is_logged_once_a_minute() -> None:
    """
    Nginx logs a line for each request: each has its line, the first one the next step.
    """
    logged: list[dict[str, str]] = []

    def log(_event: str, _level: str, **fields: str) -> None:
        logged.append(fields)

    def advise(text: str) -> str:
        return "do that" if "first" in text else ""

    reader = OutputReader(log, lambda _: None, repeats_post=False, advise=advise)
    for text in ("first one", "first two", "another"):
        os.write(reader.descriptor, f"2026/11/30 22:00:00 [error] 7#7: *1 {text}\n".encode())
    reader.lost_requests()

    assert [
        {"text": "*1 first one", "hint": "do that"},
        {"text": "*1 first two"},
        {"text": "*1 another"},
    ] == logged


def test_a_storm_of_error_lines_is_merged() -> None:
    """
    20,000 lines about three endpoints lead to an event in each gap at most, the last line counts
    as much as the first, and every line is logged.
    """
    posted: list[tuple[float, frozenset[Endpoint]]] = []
    logged: list[str] = []

    def post(event: WorkerDied | EndpointsSuspected | ProtocolRefused) -> None:
        assert isinstance(event, EndpointsSuspected)
        posted.append((time.monotonic(), event.endpoints))

    def log(_: str, __: str, *, text: str) -> None:
        logged.append(text)

    emit: Callable[..., Any] = log
    reader = OutputReader(emit, post, repeats_post=False)
    reader.start()
    began = time.monotonic()
    for n in range(LINES):
        host = f"10.0.0.{n % 2 + 1}" if n < LINES - 1 else "10.0.0.3"
        line = (
            f"2026/11/30 22:00:00 [error] 7#7: *{n} connect() failed (111: Connection refused) "
            f'while connecting to upstream, request: "GET / HTTP/1.1", upstream: "http://{host}:80/"\n'
        )
        os.write(reader.descriptor, line.encode())
    last = Endpoint("10.0.0.3", 80)
    eventually(lambda: any(last in endpoints for _, endpoints in posted))

    took = posted[-1][0] - began
    assert LINES == len(logged)
    assert len(posted) <= took / _GAP + 2
    assert {Endpoint(f"10.0.0.{n}", 80) for n in (1, 2, 3)} == {
        each for _, endpoints in posted for each in endpoints
    }
