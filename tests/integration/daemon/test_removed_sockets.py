"""
Something removes the sockets and the lock in RUNTIME_DIR from under a running program.
"""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.client import get
from tests.support.fake_nomad import FakeNomad
from tests.support.nginxes import BOTH
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.traffic import Traffic
from tests.support.waiting import eventually, free_port

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]


def serving(
    nomad: FakeNomad, supervise: Supervise, replica: Replica, **settings: Any
) -> Supervised:
    """
    Start the program with one replica, which its first configuration serves.
    """
    nomad.set("web", [replica.endpoint])
    subject = supervise(START_WAIT="5s", **settings)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve", why="first start")
    return subject


@pytest.mark.slow
@pytest.mark.parametrize("nginx", BOTH)
def test_P13_a_serving_nginx_survives_the_loss_of_its_internal_sockets(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, nginx: str
) -> None:
    """
    Nginx's unix sockets are removed four times while requests run: no request is lost, long ones
    included, the master is the same, no death is counted, and changes are applied afterwards.
    """
    one, two = replicas("one", "two")
    subject = serving(nomad, supervise, one, NGINX_BINARY=nginx)
    master, run, answers = subject.nginx_master(), subject.home / "run", list[str]()
    workers = len(subject.nginx_workers())
    long = threading.Thread(
        target=lambda: answers.append(subject.get("/slow?seconds=12", timeout=20).text), daemon=True
    )
    long.start()
    with Traffic(subject.port, every=0.02) as traffic:
        for times in range(1, 5):
            eventually(lambda: workers == len(subject.nginx_workers()))  # old ones accept no more
            for path in (*run.glob("gen-*.sock"), *run.glob("cur-*.sock")):
                path.unlink()
            eventually(
                lambda n=times: (
                    len(subject.log_lines("reload.applied", why="new internal sockets")) == n
                )
            )
        long.join(20)
    subject.offer(two)
    eventually(lambda: "two" == subject.get().text)

    assert [] == traffic.failures
    assert ["one"] == answers
    assert master == subject.nginx_master()
    for event in ("nginx.died", "nginx.replaced", "nginx.unresponsive"):
        assert [] == subject.log_lines(event)
    subject.signal(signal.SIGTERM)
    assert 0 == subject.wait()


def test_P13_a_silent_internal_socket_leads_to_a_reload(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    The path of nginx's internal socket accepts and never answers, while clients are served: within
    6 s nginx is reloaded with another one, and stays healthy for the health check all the time.
    """
    (one,) = replicas("one")
    subject = serving(nomad, supervise, one)
    master, run = subject.nginx_master(), subject.home / "run"
    (path,) = run.glob("gen-*.sock")
    path.unlink()
    with (
        socket.socket(socket.AF_UNIX) as silent,
        Traffic(subject.port, every=0.02) as traffic,
        Traffic(run / "supervisor.sock", "/healthz", every=0.02) as health,
    ):
        silent.bind(str(path))
        silent.listen(64)
        subject.wait_for_log("nginx.socket_silent", 6)
        subject.wait_for_log("reload.applied", why="new internal sockets")

    assert [] == traffic.failures
    assert [] == health.failures
    assert master == subject.nginx_master()
    assert [] == subject.log_lines("nginx.unresponsive")


def test_P13_sockets_and_lock_come_back(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    The operator's socket, the readers' socket, the lock and the link to the current socket exist
    again within 5 s and work; the program's lock keeps a second one out the whole time.
    """
    (one,) = replicas("one")
    port = free_port()
    subject = serving(nomad, supervise, one, ADMIN_PORT=str(port), pid1=False)
    run = subject.home / "run"
    names = ["lock", "readers.sock", "supervisor.sock"]
    for times in range(1, 3):
        for name in names:
            (run / name).unlink()
        assert 78 == second_start(subject)
        subject.wait_for_log("runtime.restored", 5)
        eventually(lambda n=times: len(subject.log_lines("runtime.restored")) == n, 5)

        restored = {n for line in subject.log_lines("runtime.restored") for n in line["files"]}
        assert {*names} <= restored
        assert 200 == get(run / "supervisor.sock", "/healthz").status
        assert 200 == get(port, "/healthz").status
        assert 0o600 == (run / "lock").stat().st_mode & 0o777
    assert [] == subject.log_lines("reload.failed") + subject.log_lines("internal_error")
    listening = Path("/proc/net/unix").read_text().splitlines()
    assert 1 == len([line for line in listening if line.endswith(str(run / "supervisor.sock"))])


def second_start(subject: Supervised) -> int:
    """
    Start another supervisor in the same folder, and return its exit code.
    """
    environ = {
        "ENDPOINTS": "127.0.0.1:1",
        "LISTEN_PORT": str(free_port()),
        "RUNTIME_DIR": str(subject.home / "run"),
        "STATE_DIR": str(subject.home / "state-2"),
    }
    command = [sys.executable, "-m", "supervisor", "run"]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environ, capture_output=True, check=False, timeout=10
    )
    return done.returncode
