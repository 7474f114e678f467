"""
Many clients of the control socket, and no thread for them.
"""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from supervisor.admin.defects import Defects
from supervisor.admin.http import Request, Response
from supervisor.admin.server import Server
from tests.support.admin_subject import AdminSubject, running_with_admin
from tests.support.checkout import CHECKOUT
from tests.support.client import connect, get, read_answer, request_bytes
from tests.support.control_groups import Group, control_group
from tests.support.fake_nomad import FakeNomad
from tests.support.waiting import eventually

#: More than the threads for clients, and more than the backlog of the socket.
IDLE = 133
THREADS = 32


@contextmanager
def idle_clients(path: Path, number: int) -> Iterator[None]:
    """
    Hold connections without a request.
    """
    with ExitStack() as stack:
        for _ in range(number):
            # The backlog may be full for a moment.
            stack.enter_context(eventually(lambda: connect(path), every=0.001))
        yield


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Callable[[Request], Response]], Path]]:
    """
    Serve these routes on a socket where the commands look for it, and return its path.
    """
    path = tmp_path / "supervisor.sock"

    def start(routes: Callable[[Request], Response]) -> Path:
        server = Server(path, routes, Defects(lambda *_, **__: None))
        threading.Thread(target=server.serve_until_closed, daemon=True).start()
        return path

    return start


def run_command(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """
    Run a command for the supervisor of a folder.
    """
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *words],
        cwd=CHECKOUT,
        env={"RUNTIME_DIR": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def test_idle_clients_lock_out_nobody() -> None:
    """
    With 133 idle connections to the control socket its commands and the health check work.
    """
    with running_with_admin("one") as subject:
        for words in (["healthcheck"], ["status"], ["extend", "1h"]):
            with idle_clients(subject.socket, IDLE):
                done = subject.run_command(*words)
            assert 0 == done.returncode, done
            assert "" == done.stderr


def test_the_oldest_idle_client_is_dropped_and_told_why(serve: Callable[..., Path]) -> None:
    """
    The client that has waited the longest gets 408 with the reason; the others may still send.
    """
    path = serve(lambda _: Response(200, b"here\n"))
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(path)) for _ in range(THREADS)]
        clients[0].sendall(b"GET")
        # One more answer shows that the server has accepted the others.
        assert 200 == get(path, "/").status
        dropped = read_answer(clients[0])
        assert 408 == dropped.status
        assert "cannot wait for the request: 32 clients are connected" in dropped.text
        for client in clients[1:]:
            client.sendall(request_bytes("/"))
        assert [200] * (THREADS - 1) == [read_answer(client).status for client in clients[1:]]


def test_a_full_backlog_is_named(tmp_path: Path) -> None:
    """
    Where nobody accepts clients, the health check waits for its 3 s and states why.
    """
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(str(tmp_path / "supervisor.sock"))
        server.listen(0)
        stack.enter_context(connect(tmp_path / "supervisor.sock"))
        done = run_command(tmp_path, "healthcheck")
    assert 1 == done.returncode
    assert "too many clients wait to be accepted; reporting unhealthy" in done.stderr


def test_a_refused_command_states_the_reason(serve: Callable[..., Path]) -> None:
    """
    While 32 requests are being answered, commands and the health check exit with 1, not by a
    signal, and print why.
    """
    may_answer, begun = threading.Event(), threading.Semaphore(0)

    def wait(_: Request) -> Response:
        begun.release()
        may_answer.wait(20)
        return Response(200, b"late\n")

    path = serve(wait)
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(path, timeout=20)) for _ in range(THREADS)]
        for client in clients:
            client.sendall(request_bytes("/"))
        for _ in clients:
            assert begun.acquire(timeout=10)
        for words in (["status"], ["healthcheck"], ["stop"]):
            done = run_command(path.parent, *words)
            assert 1 == done.returncode, done
            assert "32 requests are being answered" in done.stdout + done.stderr
        may_answer.set()
        assert [200] * THREADS == [read_answer(client).status for client in clients]
        assert 200 == get(path, "/").status


@pytest.fixture
def pids() -> Iterator[Group]:
    """
    A real control group that can limit processes and threads.
    """
    with control_group("pids") as group:
        yield group


def test_clients_are_answered_without_a_thread(pids: Group, nomad: FakeNomad) -> None:
    """
    Where no thread can be started 40 times, the control socket responds each time, also after an
    idle client; and it responds to as many clients as before once threads can be started again.
    """
    with running_with_admin("one", nomad=nomad, subject=pids.around(nomad)) as subject:
        eventually(lambda: 0 == len(subject.draining_workers()))
        pids.limit(1)
        with idle_clients(subject.socket, 1):
            answers = [_status_of(subject) for _ in range(40)]
        pids.limit(None)
        assert [200] * 40 == answers
        with idle_clients(subject.socket, THREADS - 1):
            assert 200 == _status_of(subject)


def _status_of(subject: AdminSubject) -> int:
    return get(subject.socket, "/healthz").status
