"""
Tests of the harness with the pattern being replaced, whose behaviour is known.
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
    A started subject responds on its port, and its nginx is visible from outside.
    """
    (one,) = replicas("one")
    old.offer(one)
    old.start()

    assert "one" == old.ready(status=200).text
    assert old.nginx_master()
    assert 2 == len(old.nginx_workers())
    assert [] == old.zombies()


def test_draining_workers_are_distinguished(
    old: Supervised, replicas: Callable[..., list[Replica]]
) -> None:
    """
    A draining worker has another title than an accepting one.
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
    In its namespace the program is PID 1 and drops signals without a handler.
    """
    if not old.pid1:
        pytest.skip("only where it is PID 1")
    old.start().ready()

    assert "1" == old.run_inside("echo $PPID; cat /proc/1/status").split("Pid:")[1].split()[0]
    assert 1 == next(p.inside for p in old.processes() if p.pid == old.pid)
    old.signal(signal.SIGTERM, signal.SIGHUP)
    time.sleep(0.3)  # time for an exit that must not happen
    assert old.running


def test_the_exit_code_is_returned() -> None:
    """
    An exit has its code, a death by signal is 128+n, PID 1 or not.
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
    JSON lines become records, other lines and stderr are separate.
    """
    script = """echo '{"event": "a.b", "n": 1}'; echo plain; echo error >&2; exec sleep 60"""
    with Supervised(subject=Script(script)) as subject:
        assert 1 == subject.wait_for_log("a.b", n=1)["n"]
        eventually(lambda: subject.other_lines and subject.errors)

        assert (["plain"], ["error"]) == (subject.other_lines, subject.errors)


def test_a_full_pipe_blocks_the_writer() -> None:
    """
    With an unread output the first line blocks.
    """
    with Supervised(subject=Script("echo hello; exit 3"), stdout="unread") as subject:
        with pytest.raises(AssertionError, match="still running"):
            subject.wait(0.3)
        subject.run.drain()
        assert 3 == subject.wait(5)


def test_a_terminal_has_a_ctrl_c() -> None:
    """
    On a terminal Ctrl-C interrupts the program's process group.
    """
    for pid1 in (True, False):
        script = "trap 'exit 5' INT; echo up; while :; do sleep 0.05; done"
        with Supervised(subject=Script(script), pid1=pid1, stdout="tty") as subject:
            eventually(partial(is_up, subject))
            subject.run.type_keys(b"\x03")
            assert 5 == subject.wait(5)


def test_a_setting_can_be_removed() -> None:
    """
    A setting that is None is not in the environment, even if the subject adds it.
    """
    script = "echo ${TTL-none} ${MORE-none}"
    with Supervised(subject=Script(script), TTL=None, MORE="more") as subject:
        assert 0 == subject.wait(5)

        assert ["none more"] == subject.other_lines


def test_no_process_is_left() -> None:
    """
    Closing also ends all of nginx, even right after its start.
    """
    for pid1 in (True, False):
        for _ in range(5):
            with Supervised(subject=Old(), pid1=pid1) as subject:
                pass
            assert [] == subject.processes()


def is_up(subject: Supervised) -> bool:
    """
    Whether the script has started.
    """
    return "up" in subject.other_lines


def test_orphans_are_still_found() -> None:
    """
    Also without a namespace, processes that outlive the program are found and killed.
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
        A script has no endpoints.
        """
        return False
