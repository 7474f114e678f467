"""
Limits of a worker: open files, connections, and the time an old one may stay.
"""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.fake_nomad import FakeNomad
from tests.support.held_connection import HeldConnection
from tests.support.live_files import all_workers
from tests.support.namespaces import why_no_unshare
from tests.support.nginxes import BOTH
from tests.support.reloading import FAST_RELOADS, reload
from tests.support.replica import Replica
from tests.support.subjects import Ours
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

nginxes = pytest.mark.parametrize("nginx", BOTH)
RUN = (sys.executable, "-m", "supervisor", "run")


@nginxes
@pytest.mark.parametrize("hard", [64, 300])
def test_open_files_and_connections_follow_the_hard_limit(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, nginx: str, hard: int
) -> None:
    """
    A small hard limit applies to the workers, with half as many connections, since each request
    takes two files; nginx logs no warning and serves 10 clients at a time.
    """
    command = ("prlimit", f"--nofile={min(hard, 64)}:{hard}", "--", *RUN)
    subject = supervise(
        pid1=False, NGINX_BINARY=nginx, subject=Ours(nomad, command=command), START_WAIT="5s"
    )
    subject.offer(*replicas("one"))
    assert 200 == subject.ready(status=200).status
    text = (subject.home / "run/conf/nginx.conf").read_text()
    assert f"worker_rlimit_nofile {hard};" in text
    assert f"worker_connections {hard // 2};" in text
    for pid in subject.nginx_workers():
        limits = Path(f"/proc/{pid}/limits").read_text()
        found = re.search(r"Max open files\s+([0-9]+)\s+([0-9]+)", limits)
        assert found
        assert (str(hard), str(hard)) == found.groups()
    assert [] == subject.log_lines("nginx.output")
    with ExitStack() as stack:
        held = [stack.enter_context(HeldConnection.slow(subject.port, 0.3)) for _ in range(10)]
        for each in held:
            each.wait()
    assert [200] * 10 == [each.status for each in held]


@nginxes
def test_an_old_worker_stays_as_long_as_a_request_may_take(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    REQUEST_TIMEOUT after a reload, and not before, remaining requests of an old worker are cut.
    """
    (one,) = replicas("one")
    subject = supervise(pid1=False, NGINX_BINARY=nginx, REQUEST_TIMEOUT="2s", **FAST_RELOADS)
    subject.offer(one)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    with (
        HeldConnection.sse(subject.port, seconds=30) as endless,
        HeldConnection.sse(subject.port, seconds=1.5) as short,
    ):
        eventually(lambda: 200 == endless.status == short.status)
        began = time.monotonic()
        reload(subject)
        endless.wait()
        assert 1.8 < time.monotonic() - began < 4
        assert short.answer, "cut too early"
        assert endless.answer is None
    eventually(lambda: [] == subject.draining_workers())


@nginxes
def test_request_timeout_limits_the_wait_for_a_replica(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    A replica that sends nothing for REQUEST_TIMEOUT results in 504, after one retry at most; a
    slightly faster one is answered.
    """
    one, two = replicas("one", "two")
    subject = supervise(pid1=False, NGINX_BINARY=nginx, REQUEST_TIMEOUT="1s", **FAST_RELOADS)
    subject.offer(one, two)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve", endpoints=2)
    all_workers(subject)  # the old ones accept for another 100 ms
    assert 200 == subject.get("/slow?seconds=0.6").status
    assert 504 == subject.get("/slow?seconds=9", method="POST", body=b"x").status
    executed = sum(each.requests["POST /slow"] for each in (one, two))
    assert 1 == executed
    assert 504 == subject.get("/slow?seconds=9").status
    assert 2 == sum(each.requests["GET /slow"] for each in (one, two)) - 1


@pytest.mark.skipif(bool(why_no_unshare()), reason=why_no_unshare() or "-")
def test_old_workers_are_counted_on_a_kernel_without_children_files(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, tmp_path: Path
) -> None:
    """
    MAX_DRAINING limits the old generations of workers where /proc does not list the children of a
    process.
    """
    one, two, three = replicas("one", "two", "three")
    subject = supervise(
        pid1=False,
        subject=Ours(nomad, command=("unshare", "-m", *RUN)),
        MAX_DRAINING="1",
        **FAST_RELOADS,
    )
    subject.offer(one)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    task = f"/proc/{subject.nginx_master()}/task"
    hide = ("nsenter", "-t", str(subject.pid), "-m", "mount", "--bind", str(tmp_path), task)
    subprocess.run(hide, check=True)
    with HeldConnection.sse(subject.port, seconds=30) as endless:
        eventually(lambda: 200 == endless.status)
        subject.offer(one, two)
        subject.wait_for_log("reload.applied", endpoints=2)
        subject.offer(one, two, three)
        line = subject.wait_for_log("reload.deferred")
        assert "1 old generations of workers still drain (MAX_DRAINING)" == line["reason"]
    subject.wait_for_log("reload.applied", endpoints=3)
