"""
Waiting for conditions instead of fixed times.

A fixed sleep is too short on a slow machine and too long on a fast one, so every test waits for
the condition it asserts, with a timeout.
"""

import contextlib
import itertools
import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Below net.ipv4.ip_local_port_range (32768 to 60999 by default), and below the ports that Nomad
#: gives to tasks (20000 to 32000), which it does not try out.
_FIRST_PORT = 10_000

#: Each of the tests that run at the same time has ports of its own, used in turn from a random one:
#: a port that was just returned is not listened on yet, so a random one could be returned twice.
_PORTS_EACH = 1_000
_RUNS = 10
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _RUNS
_offsets = itertools.count(secrets.randbelow(_PORTS_EACH))


def eventually(
    predicate: Callable[[], T],
    within: float = 10.0,
    every: float = 0.01,
    what: str | Callable[[], str] = "",
) -> T:
    """
    Return the first true value of `predicate`, or fail with its last value or exception.

    An exception counts as "not yet": usually a refused connection.  `what` is awaited, or returns
    it at the failure.
    """
    end = time.monotonic() + within
    while True:
        failure: Exception | None = None
        value: T | None = None
        try:
            value = predicate()
        except Exception as error:  # noqa: BLE001 - any exception may be temporary
            failure = error
        if failure is None and value:
            return value
        if time.monotonic() >= end:
            last = repr(failure) if failure else repr(value)
            awaited = what() if callable(what) else what
            msg = f"not within {within:g} s: {awaited or predicate}, last {last}"
            raise AssertionError(msg) from failure
        time.sleep(every)


def free_port() -> int:
    """
    Return a port without a listener, for a program that needs a port number.

    The kernel never chooses it for a client or for port 0, so no other test can take it between
    this call and the program's start, or while its listener is stopped.
    """
    while True:
        port = _FIRST_PORT + _worker * _PORTS_EACH + next(_offsets) % _PORTS_EACH
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
            return port
