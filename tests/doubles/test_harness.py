"""
The harness itself, tried on the pattern being replaced, whose behaviour is known.
"""

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from tests.support.fake_nomad import Endpoint
from tests.support.held_connection import HeldConnection
from tests.support.replica import Replica
from tests.support.subjects import Launch, Old
from tests.support.supervised import Supervised
from tests.support.waiting import eventually


@pytest.fixture(params=[True, False], ids=["pid1", "plain"])
def old(request: pytest.FixtureRequest) -> Iterator[Supervised]:
    """
    Bash, nginx, sleep and kill, as PID 1 and as a plain process; not started.
    """
    subject = Supervised(subject=Old(), pid1=request.param, TTL="60s")
    yield subject
    subject.close()


def test_it_serves(old: Supervised, replicas: Callable[..., list[Replica]]) -> None:
    """
    A started subject answers on its port, and its nginx is seen from outside.
    """
    (one,) = replicas("one")
    old.offer(one)
    old.start()

    assert "one" == old.ready(status=200).text
    assert old.nginx_master()
    assert 2 == len(old.nginx_workers())
    assert [] == old.zombies()


def test_draining_workers_are_told_apart(
    old: Supervised, replicas: Callable[..., list[Replica]]
) -> None:
    """
    A worker that finishes an old request has another title than one that accepts.
    """
    (one,) = replicas("one")
    old.offer(one)
    old.start().ready(status=200)
    before = old.nginx_workers()
    master = old.nginx_master()
    assert master
    with HeldConnection.slow(old.port, 20):
        eventually(lambda: one.requests["GET /slow"])
        old.run_inside(f"kill -HUP {next(p.inside for p in old.processes() if p.pid == master)}")

        eventually(lambda: len(old.draining_workers()) == 1)
        eventually(lambda: len(old.nginx_workers()) == 2)
    assert set(old.draining_workers()) <= set(before)


def test_pid_1_is_pid_1(old: Supervised) -> None:
    """
    Inside, the program is PID 1 and drops a signal it has no handler for.
    """
    if not old.pid1:
        pytest.skip("only where it is PID 1")
    old.start().ready()

    assert "1" == old.run_inside("echo $PPID; cat /proc/1/status").split("Pid:")[1].split()[0]
    assert 1 == next(p.inside for p in old.processes() if p.pid == old.pid)
    old.signal(signal.SIGTERM, signal.SIGHUP)
    time.sleep(0.3)  # it takes a while to see that nothing happens
    assert old.running


def test_the_exit_code_comes_through() -> None:
    """
    An exit keeps its code, a death by signal is 128+n, PID 1 or not.
    """
    for pid1 in (True, False):
        for end, code in (("exit 7", 7), ("kill -9 $$; exit 0", 0 if pid1 else 137)):
            with Supervised(subject=Script(end), pid1=pid1) as subject:
                assert code == subject.wait(5), (pid1, end)
    with Supervised(subject=Script("sleep 60; true")) as killed:
        killed.signal(signal.SIGKILL)
        assert 137 == killed.wait(5)


def test_output_is_read() -> None:
    """
    JSON lines become records, other lines and stderr are kept apart.
    """
    script = """echo '{"event": "a.b", "n": 1}'; echo plain; echo trouble >&2; exec sleep 60"""
    with Supervised(subject=Script(script)) as subject:
        assert 1 == subject.wait_for_log("a.b", n=1)["n"]
        eventually(lambda: subject.other_lines and subject.errors)

        assert (["plain"], ["trouble"]) == (subject.other_lines, subject.errors)


def test_a_full_pipe_blocks_who_writes() -> None:
    """
    Where nobody reads, the first line already finds no room.
    """
    with Supervised(subject=Script("echo hello; exit 3"), stdout="unread") as subject:
        with pytest.raises(AssertionError, match="still running"):
            subject.wait(0.3)
        subject.run.drain()
        assert 3 == subject.wait(5)


def test_a_terminal_has_a_ctrl_c() -> None:
    """
    On a terminal Ctrl-C is an interrupt for the program's own group.
    """
    for pid1 in (True, False):
        script = "trap 'exit 5' INT; echo up; while :; do sleep 0.05; done"
        with Supervised(subject=Script(script), pid1=pid1, stdout="tty") as subject:
            eventually(partial(says_up, subject))
            subject.run.type_keys(b"\x03")
            assert 5 == subject.wait(5)


def test_a_setting_can_be_taken_away() -> None:
    """
    A setting that is None is not in the environment, whatever the subject adds.
    """
    script = "echo ${TTL-none} ${MORE-none}"
    with Supervised(subject=Script(script), TTL=None, MORE="more") as subject:
        assert 0 == subject.wait(5)

        assert ["none more"] == subject.other_lines


def test_nobody_is_left() -> None:
    """
    Closing ends all of nginx too, however early in its life.
    """
    for pid1 in (True, False):
        for _ in range(5):
            with Supervised(subject=Old(), pid1=pid1) as subject:
                pass
            assert [] == subject.processes()


def says_up(subject: Supervised) -> bool:
    """
    Whether the script began.
    """
    return "up" in subject.other_lines


def test_orphans_are_still_known() -> None:
    """
    Without a namespace too, what outlives the program is seen and cleaned away.
    """
    with Supervised(subject=Script("sleep 61 & sleep 62 & wait"), pid1=False) as subject:
        eventually(lambda: len(subject.processes()) == 3)
        subject.signal(signal.SIGKILL)
        subject.wait(5)
        left = subject.processes()
        assert {"sleep 61", "sleep 62"} == {process.title for process in left}
        subject.close()
        eventually(lambda: [] == subject.processes())


class Script:
    """
    A shell script as a subject.
    """

    name = "script"

    def __init__(self, text: str) -> None:
        self._text = text

    def launch(self, home: Path, settings: Mapping[str, str]) -> Launch:
        """
        Run it.
        """
        return Launch(("sh", "-c", self._text), {"TTL": "1d", **settings}, home)

    def offer(self, endpoints: Iterable[Endpoint]) -> bool:
        """
        It has none.
        """
        return False
