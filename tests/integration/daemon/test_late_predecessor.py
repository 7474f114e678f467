"""
An earlier run was killed, and its nginx ends while the next run starts in the same folders.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.fake_nomad import FakeNomad
from tests.support.nginxes import BOTH
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]


@contextmanager
def successor_of(first: Supervised, nomad: FakeNomad, **settings: str) -> Iterator[Supervised]:
    """
    Start another run in the folders of the first one, whose nginx still runs.
    """
    folders = {
        "RUNTIME_DIR": str(first.home / "run"),
        "STATE_DIR": str(first.home / "state"),
    }
    with Supervised(nomad, pid1=False, **folders, **settings) as second:
        yield second


@pytest.mark.parametrize("nginx", BOTH)
def test_F08_a_master_that_ends_late_takes_no_socket_of_the_next_run(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, nginx: str
) -> None:
    """
    The supervisor is killed while one of its workers is suspended, so that its master removes its
    unix sockets seconds later.  The next run, on another port, is ready before that and applies a
    change after it.
    """
    (one,) = replicas("one")
    first = supervise(pid1=False, NGINX_BINARY=nginx)
    first.offer(one)
    first.ready(status=200)
    first.wait_for_log("reload.applied", mode="serve")
    old = [eventually(first.nginx_master), *first.nginx_workers()]
    os.kill(old[1], signal.SIGSTOP)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()

    with successor_of(first, nomad, NGINX_BINARY=nginx) as second:
        assert "one" == second.ready(status=200).text
        second.wait_for_log("reload.applied", mode="serve")
        assert Path(f"/proc/{old[0]}").exists(), "the old master ended too early for this test"
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in old))
        (two,) = replicas("two")
        second.offer(two)
        second.wait_for_log("reload.applied", why="1 endpoint added, 1 endpoint removed")
        eventually(lambda: "two" == second.get().text)
        assert [] == second.log_lines("nginx.output", level="warning")
        assert [] == second.log_lines("reload.failed") + second.log_lines("nginx.unresponsive")
        second.signal(signal.SIGTERM)
        assert 0 == second.wait()


def test_F08_a_suspended_predecessor_is_awaited(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    The whole nginx of a killed run is suspended for longer than nginx tries to open a port, 2.5 s.
    The next run waits and serves once the port is free.
    """
    (one,) = replicas("one")
    first = supervise(pid1=False)
    first.offer(one)
    first.ready(status=200)
    old = [eventually(first.nginx_master), *first.nginx_workers()]
    for pid in old:
        os.kill(pid, signal.SIGSTOP)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()

    with successor_of(first, nomad, LISTEN_PORT=str(first.port)) as second:
        second.wait_for_log("nginx.port_busy")
        eventually(lambda: second.lasted > 4)
        assert second.running
        for pid in old:
            os.kill(pid, signal.SIGCONT)
        assert "one" == second.ready(status=200).text
        (waited,) = second.log_lines("nginx.port_busy")
        assert f"127.0.0.1:{first.port}" == waited["address"]
        assert [] == second.log_lines("nginx.output", level="error")
