"""
The program exits at its deadline, whatever else happens at that time.
"""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.deadlines import EXACT, first_start, on_time, run_time
from tests.support.fake_nginx import FakeNginx
from tests.support.fake_nomad import FakeNomad
from tests.support.nomad_faults import hang
from tests.support.replica import Replica
from tests.support.selection import slow
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Serve = Callable[..., Supervised]
Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

as_pid1_and_plain = pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "plain"])


@as_pid1_and_plain
def test_D01_it_exits_with_0_at_the_deadline(supervise: Supervise, *, pid1: bool) -> None:
    """
    Without open connections the program exits at the deadline, exact to half a second, with code 0
    and without any process left.

    The pattern being replaced does this too as PID 1; otherwise it exits with 137.
    """
    subject = supervise(TTL="5s", pid1=pid1)
    assert subject.ready()

    assert 0 == subject.wait(15)
    assert run_time(subject) == pytest.approx(5, abs=EXACT)
    assert [] == subject.processes()


def test_D01_the_reason_is_recorded(supervise: Supervise) -> None:
    """
    The log and ended.json name the deadline as the reason; the drain of an idle nginx is short.
    """
    subject = supervise(TTL="1s")
    subject.ready()
    subject.wait(10)

    (line,) = subject.log_lines("ended", reason="deadline", code=0)
    assert line["drained_in"] < 0.5
    assert subject.ended
    assert ("deadline", 0, 0) == tuple(
        subject.ended[name] for name in ("reason", "code", "connections_cut")
    )


@pytest.mark.parametrize("pid1", [True, slow(False)], ids=["pid1", "plain"])
def test_D06_a_reload_does_not_delay_the_deadline(replicas: Replicas, *, pid1: bool) -> None:
    """
    A deadline anywhere in a reload leads to exit code 0 on time, without any process left.

    The pattern being replaced never reloads: its PID 1 drops the SIGHUP.
    """
    one, two = replicas("one", "two")
    until_hup = 0.03  # from a change to the signal: the quiet time, `nginx -t`, the swap

    def run(into: float) -> tuple[float, str]:
        with Supervised(TTL="3s", pid1=pid1) as subject:
            subject.offer(one)
            subject.ready(status=200)
            due = first_start(subject) + 3 - until_hup - into
            eventually(lambda: time.time() >= due, every=0.002)
            subject.offer(one, two)
            code = subject.wait(10)
            assert 0 == code, subject.recent_output
            # A killed `nginx -t` takes the kernel a moment to remove on a busy machine.
            eventually(lambda: [] == subject.processes(), what="no process is left")
            assert on_time(run_time(subject), 3), subject.recent_output
            assert [] == subject.log_lines("drain.cut_short"), subject.recent_output
            swapped = str(two.port) in (subject.home / "run/conf/upstream.conf").read_text()
            applied = bool(subject.log_lines("reload.applied", endpoints=2))
            return into, "applied" if applied else "under way" if swapped else "not begun"

    low, high = 0.0, 0.15
    outcomes: dict[float, str] = {}
    for _ in range(3):  # each time closer to where a reload begins, which depends on the machine
        with ThreadPoolExecutor(8) as pool:
            steps = [low + (high - low) * step / 15 for step in range(16)]
            outcomes |= dict(pool.map(run, steps))
        if "under way" in outcomes.values():
            break
        late = [into for into, outcome in outcomes.items() if outcome == "not begun"]
        early = [into for into, outcome in outcomes.items() if outcome == "applied"]
        low, high = sorted((max(late, default=low), min(early, default=2 * high)))

    assert "under way" in outcomes.values(), f"no deadline was during a reload: {outcomes}"


def test_D07_an_api_that_hangs_delays_nothing(supervise: Supervise, nomad: FakeNomad) -> None:
    """
    A Nomad that accepts every request and never responds delays neither the start nor the exit.

    The pattern being replaced does this too: its process sends nothing to Nomad.
    """
    nomad.fault(hang())
    subject = supervise(TTL="2s")
    subject.ready()

    assert 0 == subject.wait(10)
    assert on_time(run_time(subject), 2)


def test_D07_an_api_that_begins_to_hang(serve: Serve, nomad: FakeNomad, replicas: Replicas) -> None:
    """
    A Nomad that stops responding before the deadline changes nothing: requests are served until
    then, and the exit code is 0.

    The pattern being replaced does this too: its process sends nothing to Nomad.
    """
    subject = serve(*replicas("one"), TTL="3s")
    nomad.fault(hang())
    subject.signal(signal.SIGHUP)  # sends a query that hangs

    assert 200 == subject.get().status
    assert 0 == subject.wait(10)
    assert on_time(run_time(subject), 3)


@as_pid1_and_plain
def test_D08_a_check_that_hangs_at_the_start(
    supervise: Supervise, fake_nginx: FakeNginx, *, pid1: bool
) -> None:
    """
    If the first `nginx -t` hangs, the program still exits with 0 at the deadline.

    The pattern being replaced does this too as PID 1: it never tests a configuration.
    """
    fake_nginx.set(check="hang")
    subject = supervise(TTL="2s", pid1=pid1, NGINX_BINARY=str(fake_nginx))

    assert 0 == subject.wait(10)
    assert on_time(run_time(subject), 2)
    assert [] == subject.processes()


@as_pid1_and_plain
def test_D08_a_check_that_hangs_later(
    supervise: Supervise, fake_nginx: FakeNginx, replicas: Replicas, *, pid1: bool
) -> None:
    """
    A deadline while `nginx -t` hangs on a change leads to exit code 0 on time; the check is gone.
    """
    subject = supervise(TTL="3s", pid1=pid1, NGINX_BINARY=str(fake_nginx))
    subject.ready()
    before = len(fake_nginx.checks)
    fake_nginx.set(check="hang")
    subject.offer(*replicas("one"))
    eventually(lambda: len(fake_nginx.checks) > before, 2.5)

    assert 0 == subject.wait(10)
    assert on_time(run_time(subject), 3)
    assert [] == subject.processes()
    assert [] == subject.log_lines("drain.cut_short")


def test_D09_the_delay_before_a_respawn_does_not_delay_the_deadline(supervise: Supervise) -> None:
    """
    A deadline in the one-second delay after nginx's third death leads to exit code 0, without a
    respawn.
    """
    subject = supervise(TTL="4s")
    for death in (1, 2, 3):
        eventually(lambda death=death: len(subject.log_lines("nginx.ready")) == death, 3)
        if death == 3:
            eventually(lambda: time.time() >= first_start(subject) + 3.5)
        master = subject.nginx_master()
        assert master
        os.kill(master, signal.SIGKILL)
        subject.wait_for_log("nginx.died", deaths=death)

    assert 0 == subject.wait(10)
    assert on_time(run_time(subject), 4)
    assert 3 == len(subject.log_lines("nginx.started"))


def test_D09_an_nginx_that_keeps_exiting(supervise: Supervise, fake_nginx: FakeNginx) -> None:
    """
    A deadline while nginx keeps exiting by itself leads to exit code 0, not to nginx's code.
    """
    fake_nginx.set(run="fake")
    subject = supervise(TTL="4s", NGINX_BINARY=str(fake_nginx))
    subject.wait_for_log("nginx.ready")
    fake_nginx.set(when="answered", code=1)
    eventually(lambda: time.time() >= first_start(subject) + 2.8)
    subject.run_inside(f"kill -9 {subject.log_lines('nginx.started')[0]['pid']}")
    subject.wait_for_log("nginx.died", deaths=3)

    assert 0 == subject.wait(10)
    assert on_time(run_time(subject), 4)
    assert [] == subject.log_lines("nginx.died", deaths=4)
