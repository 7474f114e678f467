"""
Old workers accept no more connections once a new one has answered.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.support.client import get
from tests.support.fake_nomad import FakeNomad
from tests.support.image import subject_for
from tests.support.nginxes import BOTH
from tests.support.replica import Replica
from tests.support.selection import slow
from tests.support.supervised import Supervised
from tests.support.traffic import Traffic
from tests.support.waiting import eventually, free_port

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

nginxes = pytest.mark.parametrize("nginx", BOTH)

FAST = {"RELOAD_INTERVAL": "1ms", "RELOAD_QUIET": "1ms", "HEALTH_CHECK": "off", "START_WAIT": "5s"}


def with_processors(count: int) -> tuple[str, ...]:
    """
    Return the command of our program that believes that it may use this number of processors.
    """
    code = (
        f"import os, runpy; os.sched_getaffinity = lambda _: set(range({count}));"
        "runpy.run_module('supervisor', run_name='__main__', alter_sys=True)"
    )
    return sys.executable, "-c", code, "run"


#: Reloads in a row; `make soak` makes 2000.
RELOADS = int(os.environ.get("RELOADS", "200"))


def begin(subject: Supervised, replica: Replica) -> None:
    """
    Serve one replica.
    """
    subject.offer(replica)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")


def change(subject: Supervised, replica: Replica) -> float:
    """
    Offer one replica and return when; wait until nginx has answered with the new configuration.
    """
    seen, at = len(subject.logs), time.monotonic()
    subject.offer(replica)
    # Only the new lines: after a thousand reloads, searching all of them would take the processor.
    eventually(
        lambda: any("reload.applied" == line["event"] for line in subject.logs[seen:]), every=0.005
    )
    return at


@contextmanager
def stopped_in_its_sleep(subject: Supervised, replica: Replica) -> Iterator[set[int]]:
    """
    Offer one replica, and stop the master once it has started new workers; yield the old ones.

    The master sleeps for 100 ms then, before it sends SIGQUIT to the old workers.
    """
    master, old = subject.nginx_master(), {*subject.nginx_workers()}
    assert master
    applied = len(subject.log_lines("reload.applied"))
    subject.offer(replica)
    eventually(lambda: {*subject.nginx_workers()} - old, every=0.001)
    os.kill(master, signal.SIGSTOP)
    try:
        eventually(lambda: len(subject.log_lines("reload.applied")) > applied, every=0.002)
        yield old
    finally:
        os.kill(master, signal.SIGCONT)
    eventually(lambda: old.isdisjoint(subject.nginx_workers()))


@nginxes
def test_old_workers_accept_nothing_after_the_first_new_answer(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    They are not left to the master, which has not got to it yet.
    """
    one, two = replicas("one", "two")
    subject = supervise(pid1=False, NGINX_BINARY=nginx, **FAST)
    begin(subject, one)
    for replica in (two, one) * 4:
        with stopped_in_its_sleep(subject, replica) as old:
            eventually(
                lambda old=old: old.isdisjoint(subject.nginx_workers()), what="no old worker"
            )
            assert {replica.name} == {subject.get().text for _ in range(10)}


@nginxes
@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", [(1, 40), slow((8, 40)), slow((2, RELOADS))], ids=str)
def test_many_reloads_lose_nothing_and_keep_the_number_of_workers(
    supervise: Supervise,
    nomad: FakeNomad,
    replicas: Replicas,
    nginx: str,
    case: tuple[int, int],
) -> None:
    """
    No worker is respawned that has exited early, also where a SIGHUP meets the master's sleep.
    """
    workers, reloads = case
    one, two = replicas("one", "two")
    program = subject_for(nomad, with_processors(workers))
    subject = supervise(subject=program, pid1=False, NGINX_BINARY=nginx, **FAST)
    begin(subject, one)
    with Traffic(subject.port, count=1_000_000, seconds=600) as traffic:
        for number in range(reloads):
            change(subject, (two, one)[number % 2])

    assert [] == traffic.failures
    eventually(lambda: [] == subject.draining_workers())
    assert workers == len(subject.nginx_workers())
    assert [] == subject.log_lines("nginx.worker_died"), subject.recent_output
    assert [] == subject.log_lines("reload.failed"), subject.recent_output


def test_a_stopped_master_costs_nothing(supervise: Supervise, replicas: Replicas) -> None:
    """
    The old workers accept until there are new ones.
    """
    one, two = replicas("one", "two")
    subject = supervise(pid1=False, **FAST)
    begin(subject, one)
    master = eventually(subject.nginx_master) or 0
    assert master
    with Traffic(subject.port) as traffic:
        os.kill(master, signal.SIGSTOP)
        subject.offer(two)
        eventually(lambda: traffic.outcomes[-1].at > traffic.outcomes[0].at + 0.5)
        assert {"one"} == {each.name for each in traffic.outcomes}
        os.kill(master, signal.SIGCONT)
        eventually(lambda: "two" == traffic.outcomes[-1].name)

    assert [] == traffic.failures


def test_a_worker_that_dies_meanwhile_is_replaced_once(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    Whether its place belongs to the old or the new configuration, the number of workers is right.
    """
    one, two = replicas("one", "two")
    subject = supervise(subject=subject_for(nomad, with_processors(4)), pid1=False, **FAST)
    begin(subject, one)
    for number in range(10):
        before = eventually(lambda: len(subject.nginx_workers()) == 4 and subject.nginx_workers())
        assert before
        subject.offer((two, one)[number % 2])
        time.sleep(number / 200)  # from before SIGHUP to after SIGQUIT
        with suppress(ProcessLookupError):
            os.kill(before[0], signal.SIGKILL)
        name = ("two", "one")[number % 2]
        eventually(lambda name=name: name == subject.get().text)

    eventually(lambda: 4 == len(subject.nginx_workers()) and not subject.draining_workers())
    assert [] == subject.log_lines("nginx.died"), subject.recent_output


def test_listeners_with_a_queue_for_each_worker_are_left_to_the_master(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    A connection that waits in the queue of one worker would be reset with it.
    """
    one, two = replicas("one", "two")
    other = free_port()
    subject = supervise(pid1=False, **FAST)
    server = f"server {{ listen 127.0.0.1:{other} reuseport; return 204; }}"
    subject.write_in("conf.d", "own.conf", server)
    begin(subject, one)
    assert 204 == get(other).status
    left = 0
    for replica in (two, one) * 6:
        with stopped_in_its_sleep(subject, replica) as old:
            left += not old.isdisjoint(subject.nginx_workers())

    assert left, "the master was always stopped too late"
