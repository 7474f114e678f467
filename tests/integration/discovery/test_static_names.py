"""
Host names in ENDPOINTS, and a name server that never responds.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.core.config import load
from supervisor.core.events import Event
from supervisor.discovery import sources
from tests.support.fake_nomad import FakeNomad
from tests.support.namespaces import why_no_unshare
from tests.support.replica import Replica
from tests.support.subjects import Ours
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

#: Another one for each process that runs tests.
NAME_SERVER = f"127.53.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"


@pytest.fixture
def silent_resolver(nomad: FakeNomad, tmp_path: Path) -> Iterator[Ours]:
    """
    The program with /etc/hosts and a name server that never responds.
    """
    if why_no_unshare():
        pytest.skip(why_no_unshare() or "-")
    (tmp_path / "resolv.conf").write_text(f"nameserver {NAME_SERVER}\noptions timeout:30\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
    (tmp_path / "hosts").write_text("127.0.0.1 known\n")
    files = ("resolv.conf", "nsswitch.conf", "hosts")
    mounts = " && ".join(f"mount --bind {tmp_path}/{name} /etc/{name}" for name in files)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((NAME_SERVER, 53))
        command = ("unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "sh")
        yield Ours(nomad, "web", (*command, sys.executable, "-m", "supervisor", "run"))


def test_addresses_do_not_wait_for_a_silent_name_server(
    supervise: Supervise, replicas: Replicas, silent_resolver: Ours
) -> None:
    """
    Addresses of a list, and its names that can be resolved, are served though another name of the
    list waits 30 s for a name server.
    """
    one, two = replicas("one", "two")
    subject = supervise(
        pid1=False,
        subject=silent_resolver,
        ENDPOINTS=f"127.0.0.1:{one.endpoint[1]},silent.example:80,known:{two.endpoint[1]}",
    )
    subject.ready(status=200)
    eventually(lambda: {"one", "two"} == {subject.get().text for _ in range(6)})
    assert [] == subject.log_lines("discovery.failed")


def test_only_unresolved_names_are_reported(supervise: Supervise, silent_resolver: Ours) -> None:
    """
    A list of which no name has been resolved for 3 s is reported, and the port responds with 503.
    """
    subject = supervise(pid1=False, subject=silent_resolver, ENDPOINTS="silent.example:80")
    line = subject.wait_for_log("discovery.failed")
    reason = "cannot resolve the name 'silent.example'"
    assert f"cannot serve the only endpoint of ENDPOINTS: {reason}" == line["reason"]
    assert 503 == subject.ready(3).status


@pytest.mark.slow
def test_a_list_with_a_name_seldom_wakes_its_thread() -> None:
    """
    At rest the thread of a fixed list with a name wakes only to resolve again, every 5 s.
    """
    snapshots: list[Event] = []
    settings = load.read({"ENDPOINTS": "localhost:80"}, lambda _: True)
    (source,) = sources(settings, snapshots.append, lambda _: None)
    source.start()
    eventually(lambda: snapshots)
    (thread,) = [each for each in threading.enumerate() if each.name == "static"]
    before, posted = switches(thread), len(snapshots)
    eventually(lambda: len(snapshots) > posted, 8)
    assert switches(thread) - before <= 10


def switches(thread: threading.Thread) -> int:
    """
    Return how often a thread has begun to wait.
    """
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("voluntary_ctxt_switches")]
    return int(line.split()[1])
