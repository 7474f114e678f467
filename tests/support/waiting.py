"""
Waiting for facts instead of for time.

A blind sleep is too short on a slow machine and a waste on a fast one, so every
test waits for what it is about to claim, and every wait has an end.
"""

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    predicate: Callable[[], T], within: float = 10.0, every: float = 0.01, what: str = ""
) -> T:
    """
    Return the first true value of `predicate`, or fail with what it last said.

    An exception counts as "not yet": a port that refuses is the usual one.
    """
    end = time.monotonic() + within
    while True:
        trouble: Exception | None = None
        value: T | None = None
        try:
            value = predicate()
        except Exception as error:  # noqa: BLE001 - whatever it is, it may pass
            trouble = error
        if trouble is None and value:
            return value
        if time.monotonic() >= end:
            last = repr(trouble) if trouble else repr(value)
            msg = f"not within {within:g} s: {what or predicate}, last {last}"
            raise AssertionError(msg) from trouble
        time.sleep(every)


def free_port() -> int:
    """
    Return a port that nobody listens on now, for a program that must be told one.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
