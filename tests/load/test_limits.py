import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from supervisor.core.config import load
from supervisor.core.errors import Problem
from supervisor.nginx import host_limits, workers
from tests.support import fill_memory
from tests.support.control_groups import Group, control_group
from tests.support.fake_nomad import FakeNomad
from tests.support.nginxes import BOTH
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.traffic import Traffic
from tests.support.waiting import eventually

nginxes = pytest.mark.parametrize("nginx", BOTH)

MEMORY = 160 << 20


@pytest.fixture
def pids() -> Iterator[Group]:
    """
    A real control group with the pids controller.
    """
    with control_group("pids") as group:
        yield group


@pytest.fixture
def memory() -> Iterator[Group]:
    """
    A real control group with 160 MiB of memory.
    """
    with control_group("memory") as group:
        group.limit(MEMORY)
        yield group


def serving(subject: Supervised, replica: Replica) -> Supervised:
    """
    Start the program inside its group and wait until it serves the replica.
    """
    subject.offer(replica)
    subject.start().ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    eventually(lambda: len(subject.nginx_workers()) == host_limits.worker_count())
    return subject


def settle(pids: Group) -> None:
    """
    Wait until the number of processes and threads has not changed for a second.
    """
    seen: list[tuple[float, int]] = []

    def is_steady() -> bool:
        now, used = time.monotonic(), pids.used
        if not seen or seen[-1][1] != used:
            seen.append((now, used))
        return now - seen[-1][0] > 1.0

    eventually(is_steady)


def fill(memory: Group) -> subprocess.Popen[bytes]:
    """
    Use up the memory in another process until the kernel has killed a process of the group.
    """
    return subprocess.Popen([sys.executable, "-I", fill_memory.__file__, str(memory.folder)])


@nginxes
def test_L08_a_reload_that_would_hit_the_pids_limit_waits(
    nomad: FakeNomad, pids: Group, nginx: str
) -> None:
    """
    If the limit leaves one process too few for new workers, a change waits, which is logged once,
    and no request fails; it is applied when processes can be started.
    """
    with (
        Replica("one") as one,
        Replica("two") as two,
        Supervised(
            nomad, pid1=False, subject=pids.around(nomad), NGINX_BINARY=nginx, START_WAIT="5s"
        ) as prepared,
    ):
        subject = serving(prepared, one)
        settle(pids)
        pids.limit(pids.used + host_limits.worker_count())  # `nginx -t` needs one more
        with Traffic(subject.port) as traffic:
            subject.offer(two)
            line = subject.wait_for_log("reload.deferred")
            waiting = subject.lasted + 3
            eventually(lambda: subject.lasted > waiting)
            assert "more processes, but only" in line["reason"]
            assert "two" not in traffic.answered
            pids.limit(None)
            eventually(lambda: "two" in traffic.answered, 10)

        assert [] == traffic.failures
        assert 1 == len(subject.log_lines("reload.deferred"))
        assert [] == subject.log_lines("nginx.unresponsive")


@nginxes
def test_L08_an_outage_by_the_pids_limit_ends(nomad: FakeNomad, pids: Group, nginx: str) -> None:
    """
    Workers that died while no process could be started leave a master with an open port: detected
    within 5 s, and served again within 10 s after processes can be started.
    """
    with (
        Replica("one") as one,
        Supervised(
            nomad, pid1=False, subject=pids.around(nomad), NGINX_BINARY=nginx, START_WAIT="5s"
        ) as prepared,
    ):
        subject = serving(prepared, one)
        pids.limit(1)
        died = time.monotonic()
        for pid in subject.nginx_workers():
            os.kill(pid, signal.SIGKILL)
        subject.wait_for_log("nginx.unresponsive", 6.0)
        detected = time.monotonic() - died
        pids.limit(None)
        free = time.monotonic()
        eventually(lambda: "one" == subject.get(timeout=0.3).text, 12.0)
        print(f"detected after {detected:.2f} s, served {time.monotonic() - free:.2f} s after that")

        assert detected <= 5.0
        assert time.monotonic() - free <= 10.0
        assert subject.running


@nginxes
def test_L08_where_nothing_is_served_nginx_is_restarted(
    nomad: FakeNomad, pids: Group, nginx: str
) -> None:
    """
    The limit never leaves room for a second set of workers, and there is no endpoint yet: the first
    one is served all the same, and the restart is no death of nginx.
    """
    with (
        Replica("one") as one,
        Supervised(nomad, pid1=False, subject=pids.around(nomad), NGINX_BINARY=nginx) as subject,
    ):
        subject.ready(status=503)
        subject.wait_for_log("reload.applied", mode="no_endpoints")
        eventually(lambda: nomad.blocked and not subject.draining_workers())
        settle(pids)
        pids.limit(pids.used + 1)
        with Traffic(subject.port, good=(200, 503)) as traffic:
            subject.offer(one)
            eventually(lambda: "one" in traffic.answered, 5.0)
        away = [each.at + each.took for each in traffic.failures]
        span = max(away) - min(away) if away else 0.0
        print(f"{len(away)} of {len(traffic.outcomes)} requests refused, over {span:.3f} s")

        assert 1 == len(subject.log_lines("nginx.restarting"))
        # A probe that takes longer than usual may be logged as reload.deferred for a moment.
        assert [] == subject.log_lines("nginx.died")
        assert span < 1.0


@nginxes
def test_L08_fewer_workers_leave_room_for_reloads(
    nomad: FakeNomad, pids: Group, nginx: str
) -> None:
    """
    A limit that is known at the start reduces the workers, which is logged: additions and removals
    are applied while requests are served, and none fails.
    """
    pids.limit(15)
    with (
        Replica("one") as one,
        Replica("two") as two,
        Supervised(
            nomad, pid1=False, subject=pids.around(nomad), NGINX_BINARY=nginx, START_WAIT="5s"
        ) as subject,
    ):
        subject.offer(one)
        subject.ready(status=200)
        subject.wait_for_log("reload.applied", mode="serve")
        assert 1 == subject.wait_for_log("workers.reduced")["workers"]
        with Traffic(subject.port) as traffic:
            for served in ((one, two), (two,), (one,)):
                since = time.monotonic()
                subject.offer(*served)
                eventually(partial(traffic.first, served[-1].name, since), 10.0)
        assert [] == traffic.failures
        assert [] == subject.log_lines("nginx.restarting") == subject.log_lines("nginx.died")


def test_L08_the_table_of_nginx_is_never_full() -> None:
    """
    The maximum number of workers, of old generations and of a reload fits into nginx's table of
    processes: a reload with a full table would leave no worker.
    """

    def draining(most: int) -> int:
        given = {"ENDPOINTS": "10.0.0.1:1", "MAX_DRAINING": str(most)}
        return load.read(given, lambda _: False).max_draining

    most = draining(100)
    with pytest.raises(Problem, match="MAX_DRAINING"):
        draining(most + 1)

    assert (most + 2) * host_limits._MAX_WORKERS < workers._MAX_PROCESSES


@nginxes
@pytest.mark.parametrize("pid1", [False, True], ids=["beside", "pid1"])
def test_L09_a_full_memory_costs_two_seconds_at_most(
    nomad: FakeNomad, memory: Group, nginx: str, *, pid1: bool
) -> None:
    """
    Another process uses up the memory of the control group, at rest and while endpoints change: the
    kernel kills nginx and not the larger supervisor, and requests are served again within 2 s.
    """
    with (
        Replica("one") as one,
        Replica("two") as two,
        Supervised(
            nomad,
            pid1=pid1,
            subject=memory.around(nomad),
            NGINX_BINARY=nginx,
            START_WAIT="5s",
            RELOAD_INTERVAL="100ms",
        ) as prepared,
    ):
        subject = serving(prepared, one)
        for changing in ((), (one, two)):
            with Traffic(subject.port, timeout=2.0) as traffic:
                filler = fill(memory)
                while filler.poll() is None:
                    for more in changing:
                        subject.offer(one, more)
                    time.sleep(0.05)  # a pause between changes, not a condition
                filled, last = time.monotonic(), two if changing else one
                subject.offer(last)
                eventually(partial(traffic.first, last.name, filled), 10.0)
            bad = [each.at + each.took for each in traffic.failures]
            away = max(bad) - min(bad) if bad else 0.0
            print(f"{len(bad)} of {len(traffic.outcomes)} requests failed, for {away:.2f} s")

            assert 0 == filler.returncode  # another process was killed
            assert away <= 2.0
            assert subject.running


def test_L09_the_oom_order_matters(nomad: FakeNomad, memory: Group) -> None:
    """
    With equal oom_score_adj the kernel kills the larger supervisor, and all processes end.
    """
    with (
        Replica("one") as one,
        Supervised(nomad, pid1=False, subject=memory.around(nomad), START_WAIT="5s") as prepared,
    ):
        subject = serving(prepared, one)
        adjustments = {
            each.pid: Path(f"/proc/{each.pid}/oom_score_adj") for each in subject.processes()
        }
        own = int(adjustments.pop(subject.pid).read_text())
        assert all(int(path.read_text()) > own for path in adjustments.values())
        for pid in (*adjustments, subject.pid):
            Path(f"/proc/{pid}/oom_score_adj").write_text("900")
        assert 0 == fill(memory).wait(60)

        assert 137 == subject.wait()
