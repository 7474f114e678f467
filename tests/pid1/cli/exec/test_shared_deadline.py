"""
One deadline for the balancer and the replicas under `exec`: what is in progress completes.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from supervisor.cli.exec import serving
from tests.support import loading_replica
from tests.support.client import request_bytes
from tests.support.deadlines import EXACT
from tests.support.exec_process import ExecProcess, trapping
from tests.support.held_connection import HeldConnection
from tests.support.selection import slow
from tests.support.supervised import Supervised
from tests.support.waiting import eventually, free_port

RunExec = Callable[..., ExecProcess]
Serve = Callable[..., Supervised]

SLOW = "/slow?seconds=5"
REQUESTS = (request_bytes(SLOW), request_bytes(SLOW, method="POST", body=b"x"))


def replica(port: int) -> tuple[str, ...]:
    """
    Return the command of a server that does not handle TERM: it cuts what is open.
    """
    program = str(Path(loading_replica.__file__))
    return (sys.executable, "-I", "-S", program, str(port), "one", "0")


def requested_before(
    deadline: float, serve: Serve, ports: Sequence[int], requests: Sequence[bytes] = REQUESTS
) -> tuple[Supervised, list[int]]:
    """
    Serve these replicas until the deadline; return the statuses of requests of 5 s that were sent
    2 s before it.
    """
    balancer = serve(*(("127.0.0.1", port) for port in ports), DEADLINE=f"{deadline:.3f}")
    eventually(lambda: time.time() >= deadline - 2, 20)
    held = [HeldConnection(balancer.port, request) for request in requests]
    assert 0 == balancer.wait(15)
    for request in held:
        request.wait(1)
        request.close()
    return balancer, [request.answer.status if request.answer else 0 for request in held]


@pytest.mark.parametrize("pid1", [slow(True, id="pid1"), pytest.param(False, id="plain")])
def test_requests_open_at_a_shared_deadline_complete(
    run_exec: RunExec,
    serve: Serve,
    pid1: bool,  # noqa: FBT001
) -> None:
    """
    The replicas have the balancer's DEADLINE: a GET and a POST of 5 s, begun 2 s before it, get
    200, because a command that serves gets its TERM only when the balancer's drain must be over.
    """
    deadline = time.time() + 6
    ports = [free_port(), free_port()]
    replicas = [run_exec(*replica(port), DEADLINE=f"{deadline:.3f}", pid1=pid1) for port in ports]
    balancer, statuses = requested_before(deadline, serve, ports)

    assert [200, 200] == statuses
    assert balancer.ended
    assert 0 == balancer.ended["connections_cut"]
    assert ["30s", "30s"] == [each.wait_for_line("lingering")["within"] for each in replicas]
    assert [None, None] == [each.run.exited_at for each in replicas]


def test_what_is_cut_with_its_replica_is_counted(run_exec: RunExec, serve: Serve) -> None:
    """
    Replicas that do not linger cut the same requests: 502 for each, and the balancer's last line
    counts them, though their connections were not cut.
    """
    deadline = time.time() + 6
    ports = [free_port(), free_port()]
    for port in ports:
        run_exec(*replica(port), DEADLINE=f"{deadline:.3f}", LINGER="0")
    balancer, statuses = requested_before(deadline, serve, ports)

    assert [502, 502] == statuses
    assert balancer.ended
    assert (2, 2) == (balancer.ended["connections_cut"], balancer.ended["cut_by_replicas"])


@pytest.mark.slow
def test_what_another_replica_answers_is_not_counted(run_exec: RunExec, serve: Serve) -> None:
    """
    One of two replicas ends at the deadline: GETs that it was answering are repeated on the other,
    get 200, and nothing is counted.
    """
    deadline = time.time() + 6
    ports = [free_port(), free_port()]
    ends = run_exec(*replica(ports[0]), DEADLINE=f"{deadline:.3f}", LINGER="0")
    run_exec(*replica(ports[1]), DEADLINE=f"{deadline:.3f}")
    gets = [request_bytes(SLOW)] * 6
    balancer, statuses = requested_before(deadline, serve, ports, gets)

    assert [200] * 6 == statuses
    assert 0 == ends.wait()
    assert balancer.log_lines("nginx.output")  # some of them failed once
    assert balancer.ended
    assert 0 == balancer.ended["connections_cut"]


def test_without_proc_a_command_is_taken_as_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where /proc does not permit to look, requests in progress are worth more than an exact end.
    """
    with subprocess.Popen(["sleep", "67"]) as command:
        assert not serving.is_serving()
        monkeypatch.setattr(os, "listdir", denied)
        assert serving.is_serving()
        command.kill()


def denied(path: str) -> list[str]:
    """
    List /proc, but no descriptors of another process.
    """
    if path.endswith("/fd"):
        raise PermissionError(path)
    with os.scandir(path) as entries:
        return [each.name for each in entries]


def test_a_serving_command_ends_when_the_time_is_over(run_exec: RunExec) -> None:
    """
    TERM arrives LINGER after the deadline; the exit code is 0 and the reason the deadline.
    """
    subject = run_exec(*replica(free_port()), TTL="1s", LINGER="2s")

    assert 0 == subject.wait(6)
    assert 3 == pytest.approx(subject.run_time(), abs=EXACT)
    assert ("deadline", 143) == (subject.ended["reason"], subject.ended["command_code"])
    assert subject.ended["drained_in"] < 1


def test_a_set_linger_is_for_every_command(run_exec: RunExec) -> None:
    """
    A command that does not listen ends at its deadline, unless LINGER is set.
    """
    unset = run_exec("sleep", "60", TTL="1s")
    given = run_exec("sleep", "60", TTL="1s", LINGER="2s")

    assert [0, 0] == [unset.wait(3), given.wait(6)]
    assert [1, 3] == pytest.approx([unset.run_time(), given.run_time()], abs=EXACT)
    assert [] == [line for line in unset.lines if line["event"] == "lingering"]


def test_the_server_may_be_a_process_below_the_command(run_exec: RunExec) -> None:
    """
    A shell that starts the server serves too, also where the server is in a session of its own.
    """
    port = free_port()
    subject = run_exec("sh", "-c", 'setsid "$@" & wait', "sh", *replica(port), TTL="2s")
    subject.wait_for_line("lingering")
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(5)


def test_a_stop_ends_the_lingering(run_exec: RunExec) -> None:
    """
    A stop signal after the deadline is forwarded at once, and STOP_TIMEOUT counts from it.
    """
    subject = run_exec(*trapping("INT"), TTL="1s", LINGER="60s", STOP_TIMEOUT="2s")
    subject.wait_for_line("lingering")
    at = time.monotonic()
    subject.signal(signal.SIGINT)
    subject.wait_for_text("got-INT", 1)

    assert 0 == subject.wait(4)
    assert time.monotonic() - at < 2 + EXACT
    assert "deadline" == subject.ended["reason"]


def test_a_command_that_ends_while_it_lingers(run_exec: RunExec) -> None:
    """
    Its deadline has passed, so the exit code is 0 whatever its own.
    """
    subject = run_exec("sh", "-c", "sleep 2; exit 9", TTL="1s", LINGER="60s")

    assert 0 == subject.wait(5)
    assert 2 == pytest.approx(subject.run_time(), abs=EXACT)
    assert ("deadline", 9) == (subject.ended["reason"], subject.ended["command_code"])
