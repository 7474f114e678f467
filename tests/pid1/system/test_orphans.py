"""
Orphaned processes, also while `nginx -t` runs.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack

import psutil

from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Replicas = Callable[..., list[Replica]]
Serve = Callable[..., Supervised]

ORPHANS = 200
FAILURES = 300


def test_P01_orphans_that_exit_during_reloads_are_reaped(serve: Serve, replicas: Replicas) -> None:
    """
    Two hundred orphans exit during reloads: two seconds later no zombie is left, and none of them
    was mistaken for a child of the supervisor.
    """
    one, two = replicas("one", "two")
    subject = serve(one, RELOAD_INTERVAL="20ms")
    subject.run_inside(
        f"i=0; while [ $i -lt {ORPHANS} ]; do (sleep 1.$((i % 9)) &); i=$((i + 1)); done"
    )
    orphans = {p.pid for p in subject.processes() if p.title.startswith("sleep 1.")}
    assert len(orphans) > ORPHANS / 4  # on a busy machine the first have exited already
    assert all(p.ppid == subject.pid for p in subject.processes() if p.pid in orphans)
    wanted = 0
    while orphans & {p.pid for p in subject.processes()}:
        wanted += 1
        subject.offer(*((one, two) if wanted % 2 else (one,)))
        eventually(lambda least=wanted: len(subject.log_lines("reload.applied")) > least)

    eventually(lambda: [] == subject.zombies(), 2.0, what="no zombie")
    assert wanted >= 2
    assert [] == subject.log_lines("reload.failed")
    assert [] == subject.log_lines("nginx.died")
    assert 200 == subject.get().status


def test_P04_every_failing_check_is_detected(serve: Serve, replicas: Replicas) -> None:
    """
    `nginx -t` fails three hundred times while orphans come and go: no failure counts as a success,
    and the endpoints are still served.
    """
    subject = serve(*replicas("one"), RELOAD_QUIET="1ms")
    workers, live = subject.nginx_workers(), (subject.home / "run" / "conf").readlink()
    subject.run_inside("(while :; do (true &); (sleep 0.02 &); sleep 0.003; done) &")
    subject.write_in("conf.d", "bad.conf", "no_such_directive on;\n")
    for failures in range(1, FAILURES + 1):
        subject.signal(signal.SIGHUP)
        eventually(lambda seen=failures: len(subject.log_lines("reload.failed")) >= seen, 5, 0.002)

    assert 1 == len(subject.log_lines("reload.applied"))
    assert all("no_such_directive" in line["reason"] for line in subject.log_lines("reload.failed"))
    assert live == (subject.home / "run" / "conf").readlink()
    assert workers == subject.nginx_workers()
    assert "one" == subject.get().text


def test_P15_nginx_exits_with_a_killed_supervisor(serve: Serve, replicas: Replicas) -> None:
    """
    Without PID 1, SIGKILL of the program ends nginx within a second too: master, workers and
    draining workers.
    """
    (one,) = replicas("one")
    subject = serve(one, pid1=False)
    with ExitStack() as stack:
        master, workers = subject.nginx_master(), subject.nginx_workers()
        assert master is not None
        for pid in (master, *workers):
            assert psutil.pid_exists(pid)
        stack.callback(subject.close)
        at = time.monotonic()
        subject.signal(signal.SIGKILL)

        eventually(lambda: not any(map(is_running, (master, *workers))), 1.0)
        assert time.monotonic() - at < 1.0
        assert 137 == subject.wait(1)


def test_P15_orphans_are_adopted_and_reaped(serve: Serve, replicas: Replicas) -> None:
    """
    Without PID 1 the program adopts orphans: the workers of a killed master become its children,
    get SIGQUIT, and are reaped.
    """
    (one,) = replicas("one")
    subject = serve(one, pid1=False)
    master, workers = subject.nginx_master(), subject.nginx_workers()
    assert master is not None
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)  # so that they are visible as orphans
    os.kill(master, signal.SIGKILL)
    subject.wait_for_log("nginx.orphans_quit", workers=len(workers))
    assert [subject.pid] * len(workers) == [psutil.Process(pid).ppid() for pid in workers]
    for pid in workers:
        os.kill(pid, signal.SIGCONT)

    eventually(lambda: not any(map(psutil.pid_exists, workers)), 2.0)
    eventually(lambda: len(subject.log_lines("nginx.ready")) == 2)
    assert "one" == subject.ready(status=200).text
    assert [] == subject.zombies()


def is_running(pid: int) -> bool:
    """
    Whether a process exists and is not a zombie.
    """
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
