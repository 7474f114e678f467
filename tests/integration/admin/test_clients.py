"""
The counts of clients leave out the supervisor's own looks, on the real nginx.
"""

import os
import signal
from contextlib import ExitStack

import pytest

from tests.support.admin_subject import running_with_admin
from tests.support.client import connect, get, read_answer
from tests.support.nginxes import BOTH
from tests.support.waiting import eventually

KEPT = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("nginx", BOTH)
def test_own_looks_are_no_clients(nginx: str) -> None:
    """
    Neither an open page, its polls and scrapes, nor the polls of the supervisor; clients all are.
    """
    with ExitStack() as stack:
        subject = stack.enter_context(running_with_admin("one", NGINX_BINARY=nginx))

        def clients(*, socket: bool = False) -> dict[str, int]:
            where = subject.socket if socket else None
            found: dict[str, int] = subject.status(where)["nginx"]["clients"]
            return found

        if clients() is None:
            pytest.skip("this nginx was built without stub_status")
        first = eventually(lambda: (c := clients())["connections"] == 0 and c)
        for _ in range(3):
            page = stack.enter_context(connect(subject.admin_port))
            page.sendall(KEPT)
            assert 200 == read_answer(page).status
        for path in ("/", "/metrics", "/status") * 5:
            assert 200 == get(subject.admin_port, path).status
        for where in (False, True):
            found = clients(socket=where)
            assert 0 == found["connections"]
            assert found["requests"] in {first["requests"], first["requests"] + 1}

        for _ in range(4):
            stack.enter_context(connect(subject.port))
        for _ in range(20):
            subject.get()
        eventually(lambda: 4 == clients()["connections"])
        assert 20 <= clients()["requests"] - first["requests"] <= 21


def test_a_new_nginx_counts_from_zero() -> None:
    """
    After the death of the master the requests of clients are those to the new one.
    """
    with running_with_admin("one") as subject:
        for _ in range(10):
            subject.get()
        for _ in range(30):
            subject.status()
        master = subject.nginx_master()
        assert master
        os.kill(master, signal.SIGKILL)
        subject.wait_for_log("nginx.died")
        eventually(lambda: subject.nginx_master() not in {None, master})
        eventually(lambda: 200 == subject.get().status)
        before = eventually(lambda: subject.status(subject.socket)["nginx"]["clients"])
        for _ in range(7):
            subject.get()

        after = subject.status(subject.socket)["nginx"]["clients"]
        assert 7 <= after["requests"] - before["requests"] <= 8
        assert after["requests"] < 20
