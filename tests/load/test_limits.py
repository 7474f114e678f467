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
    A real control group that can bound processes.
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
    Start it inside its group, on one replica.
    """
    subject.offer(replica)
    subject.start().ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    eventually(lambda: len(subject.nginx_workers()) == host_limits.worker_count())
    return subject


def fill(memory: Group) -> subprocess.Popen[bytes]:
    """
    Have somebody use up the memory until the kernel has ended one of the group.
    """
    return subprocess.Popen([sys.executable, "-I", fill_memory.__file__, str(memory.folder)])


@nginxes
def test_L08_a_reload_that_would_hit_the_pids_limit_waits(
    nomad: FakeNomad, pids: Group, nginx: str
) -> None:
    """
    Where no more processes may be started than one too few for new workers, a change waits, which
    is said once, and nobody notices; when there is room it is applied.
    """
    with (
        Replica("one") as one,
        Replica("two") as two,
        Supervised(
            nomad, pid1=False, subject=pids.around(nomad), NGINX_BINARY=nginx, START_WAIT="5s"
        ) as prepared,
    ):
        subject = serving(prepared, one)
        pids.limit(pids.used + host_limits.worker_count())  # and `nginx -t` is one more
        with Traffic(subject.port) as traffic:
            subject.offer(two)
            line = subject.wait_for_log("reload.deferred")
            waiting = subject.lasted + 3
            eventually(lambda: subject.lasted > waiting)
            assert "more processes may be started" in line["reason"]
            assert "two" not in traffic.answered
            pids.limit(None)
            eventually(lambda: "two" in traffic.answered, 10)

        assert [] == traffic.failures
        assert 1 == len(subject.log_lines("reload.deferred"))
        assert [] == subject.log_lines("nginx.unresponsive")


@nginxes
def test_L08_a_blackout_by_the_pids_limit_is_ended(
    nomad: FakeNomad, pids: Group, nginx: str
) -> None:
    """
    Workers that died while none could be started leave a master with an open port and nobody behind
    it: noticed within 5 s, and served again within 10 s of when processes can be started.
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
        noticed = time.monotonic() - died
        pids.limit(None)
        free = time.monotonic()
        eventually(lambda: "one" == subject.get(timeout=0.3).text, 12.0)
        print(f"noticed after {noticed:.2f} s, served {time.monotonic() - free:.2f} s after room")

        assert noticed <= 5.0
        assert time.monotonic() - free <= 10.0
        assert subject.running


def test_L08_the_table_of_nginx_is_never_full() -> None:
    """
    With as many workers and old generations as there can ever be, and those of a reload, nginx has
    room in its table of processes: a reload that finds it full would leave nobody.
    """

    def draining(most: int) -> int:
        given = {"ENDPOINTS": "10.0.0.1:1", "MAX_DRAINING": str(most)}
        return load.read(given, lambda _: False).max_draining

    most = draining(100)
    with pytest.raises(Problem, match="MAX_DRAINING"):
        draining(most + 1)

    assert (most + 2) * host_limits._MOST_WORKERS < workers._TABLE


@nginxes
@pytest.mark.parametrize("pid1", [False, True], ids=["beside", "pid1"])
def test_L09_a_full_memory_costs_two_seconds_at_most(
    nomad: FakeNomad, memory: Group, nginx: str, *, pid1: bool
) -> None:
    """
    Somebody else uses up the memory that the control group has, at rest and while endpoints change:
    the kernel ends nginx and not the supervisor, though that is the larger, and the service is back
    within 2 s.
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
                    time.sleep(0.05)  # changes go on, they are no fact to wait for
                filled, last = time.monotonic(), two if changing else one
                subject.offer(last)
                eventually(partial(traffic.first, last.name, filled), 10.0)
            bad = [each.at + each.took for each in traffic.failures]
            away = max(bad) - min(bad) if bad else 0.0
            print(f"{len(bad)} of {len(traffic.outcomes)} requests failed, for {away:.2f} s")

            assert 0 == filler.returncode  # somebody else was ended
            assert away <= 2.0
            assert subject.running


def test_L09_it_matters_whom_the_kernel_takes_first(nomad: FakeNomad, memory: Group) -> None:
    """
    The same where nginx is no better a choice than by its size: the kernel ends the supervisor, and
    with it everything.
    """
    with (
        Replica("one") as one,
        Supervised(nomad, pid1=False, subject=memory.around(nomad), START_WAIT="5s") as prepared,
    ):
        subject = serving(prepared, one)
        orders = {each.pid: Path(f"/proc/{each.pid}/oom_score_adj") for each in subject.processes()}
        own = int(orders.pop(subject.pid).read_text())
        assert all(int(order.read_text()) > own for order in orders.values())
        for pid in (*orders, subject.pid):
            Path(f"/proc/{pid}/oom_score_adj").write_text("900")
        assert 0 == fill(memory).wait(60)

        assert 137 == subject.wait()
