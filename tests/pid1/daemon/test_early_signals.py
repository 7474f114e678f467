"""
Signals that arrive while the program or nginx is starting.
"""

import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.fake_nginx import FakeNginx
from tests.support.replica import Replica
from tests.support.selection import slow
from tests.support.startup_timing import blocks_stop_signals, pause
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Replicas = Callable[..., list[Replica]]
Prepare = Callable[..., Supervised]

SIDE_BY_SIDE = 3


def stopped_after(subject: Supervised, delay: float) -> int:
    """
    Start it, stop it this many seconds after its first instruction, and return the exit code.
    """
    subject.start()
    with suppress(AssertionError):  # it may have finished already
        eventually(lambda: blocks_stop_signals(subject.pid), 3, 0.0002)
    pause(delay)
    subject.signal(signal.SIGTERM)
    return subject.wait(8)


def sweep(
    prepare: Prepare, delays: Iterable[float], replica: Replica, *, pid1: bool
) -> dict[float, int]:
    """
    Run one program for each delay, a few in parallel, and return the exit codes.
    """
    subjects = {delay: prepare(replica, pid1=pid1) for delay in delays}
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        codes = pool.map(lambda item: stopped_after(item[1], item[0]), subjects.items())
        return dict(zip(subjects, codes, strict=True))


def test_P08_nothing_is_imported_before_signals_are_blocked(
    prepare: Prepare, tmp_path: Path
) -> None:
    """
    The first instruction blocks signals, before any of our modules or a library is imported: only
    during the start of the interpreter is a stop signal lost.
    """
    listing = tmp_path / "modules"
    (tmp_path / "sitecustomize.py").write_text(_LIST_MODULES.format(listing=str(listing)))
    subject = prepare(PYTHONPATH=str(tmp_path), TTL="0.1s").start()
    assert 0 == subject.wait(10)

    modules = listing.read_text().split()
    assert "signal" in modules
    libraries = ("jinja2", "nomad", "psutil", "requests", "structlog", "threading", "socket")
    assert [] == [name for name in modules if name.partition(".")[0] in libraries]
    assert [] == [name for name in modules if name.startswith("supervisor.")]


_LIST_MODULES = """
import signal, sys
block = signal.pthread_sigmask
def list_modules(*args):
    signal.pthread_sigmask = block
    with open({listing!r}, "w") as file:
        file.write(" ".join(sys.modules))
    return block(*args)
signal.pthread_sigmask = list_modules
"""


@pytest.mark.parametrize("start", [0, slow(17), slow(34)])
def test_P08_a_stop_right_after_the_start(prepare: Prepare, replicas: Replicas, start: int) -> None:
    """
    TERM in any of the first fifty milliseconds after the first instruction: exit code 0.
    """
    (one,) = replicas("one")

    codes = sweep(prepare, [ms / 1000 for ms in range(start, start + 17)], one, pid1=True)

    assert {} == {delay: code for delay, code in codes.items() if code != 0}


def test_P08_a_stop_while_nginx_starts_leaves_none(prepare: Prepare, replicas: Replicas) -> None:
    """
    TERM at any time from the first instruction until after nginx is ready leaves no nginx process,
    also without a PID namespace that ends with the program.
    """
    (one,) = replicas("one")
    subjects: list[Supervised] = []

    def keep(*args: Replica, **options: bool) -> Supervised:
        subjects.append(prepare(*args, **options))
        return subjects[-1]

    codes = sweep(keep, [ms / 1000 for ms in range(0, 400, 16)], one, pid1=False)

    assert {} == {delay: code for delay, code in codes.items() if code != 0}
    for subject in subjects:
        eventually(lambda of=subject: [] == of.processes(), 1.0, what="no process left")


def test_P09_hup_and_changes_while_nginx_starts(prepare: Prepare, replicas: Replicas) -> None:
    """
    HUPs and endpoint changes from the first instruction on do not reach an nginx that cannot handle
    them yet: it is started once, never dies, and serves the last state.
    """
    one, two = replicas("one", "two")
    for _ in range(4):
        subject = prepare(one).start()
        eventually(lambda of=subject: blocks_stop_signals(of.pid), 10, 0.0005)
        sent = 0
        while not subject.log_lines("nginx.ready"):
            assert subject.running
            assert subject.lasted < 10, "it never became ready"
            sent += 1
            os.kill(subject.pid, signal.SIGHUP)
            if sent % 10 == 0:
                subject.offer(*((one, two) if sent % 20 else (one,)))
            pause(0.001)
        subject.offer(two)

        eventually(lambda of=subject: of.get().text == "two")
        assert subject.running
        assert sent > 10
        assert 1 == len(subject.log_lines("nginx.started"))
        assert [] == subject.log_lines("nginx.died")
        subject.close()


def test_P09_a_slow_start_is_not_disturbed(
    prepare: Prepare, replicas: Replicas, fake_nginx: FakeNginx
) -> None:
    """
    An nginx that needs long until it handles signals is not signalled either.
    """
    one, two = replicas("one", "two")
    subject = prepare(one, NGINX_BINARY=str(slow_to_start(fake_nginx))).start()
    subject.wait_for_log("nginx.started")
    while not subject.log_lines("nginx.ready"):
        assert subject.running
        assert subject.lasted < 10, "it never became ready"
        subject.signal(signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
        subject.offer(one, two)
        subject.offer(two)
    eventually(lambda: subject.get().text == "two")

    assert 1 == len(subject.log_lines("nginx.started"))
    assert [] == subject.log_lines("nginx.died")


def slow_to_start(nginx: FakeNginx) -> Path:
    """
    Return a program that becomes nginx after half a second and dies of any signal until then.
    """
    path = nginx.path.with_name("slow-nginx")
    path.write_text(
        '#!/bin/sh\ncase " $* " in *" -t "* | *" -v "*) ;; *) sleep 0.5 ;; esac\n'
        f'exec {nginx.path} "$@"\n'
    )
    path.chmod(0o755)
    return path
