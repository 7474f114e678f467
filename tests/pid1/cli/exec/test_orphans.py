"""
What a wrapped command leaves behind: buried, told, killed; never left.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from supervisor.cli.exec import subreaper
from tests.support.exec_process import ExecProcess
from tests.support.waiting import eventually

RunExec = Callable[..., ExecProcess]

ORPHANS = 200


@pytest.mark.parametrize("pid1", [True, False])
def test_orphans_are_buried(run_exec: RunExec, pid1: bool) -> None:  # noqa: FBT001
    """
    Two hundred orphans end while the command runs on: two seconds later no zombie is left, and
    none of them was taken for the command.
    """
    script = (
        f"i=0; while [ $i -lt {ORPHANS} ]; do (sleep 0.$((i % 9)) &); i=$((i + 1)); done;"
        " echo born; exec sleep 60"
    )
    subject = run_exec("sh", "-c", script, pid1=pid1)
    subject.wait_for_text("born")

    eventually(lambda: {"sleep"} >= {p.name for p in subject.processes() if p.pid != subject.pid})
    eventually(lambda: 2 == len(subject.processes()), 3, what="nobody but the two")
    assert not subject.run.exited.is_set()


@pytest.mark.parametrize("pid1", [True, False])
def test_a_command_that_goes_to_the_background_has_ended(run_exec: RunExec, pid1: bool) -> None:  # noqa: FBT001
    """
    A daemon that forks itself away is not waited for: the run ends with the command's code, and
    what it left is killed, even in a session of its own, and counted.
    """
    subject = run_exec("sh", "-c", "setsid sleep 61 & sleep 62 & sleep 0.3; exit 4", pid1=pid1)
    subject.wait_for_line("exec.started")
    eventually(lambda: 2 <= sum(p.name == "sleep" for p in subject.processes()))
    left = [psutil.Process(p.pid) for p in subject.processes() if p.name == "sleep"]

    assert 4 == subject.wait(3)
    assert 2 == subject.ended["killed"]
    assert not any(process.is_running() for process in left)


@pytest.mark.parametrize("pid1", [True, False])
def test_nothing_is_left_at_the_deadline(run_exec: RunExec, pid1: bool) -> None:  # noqa: FBT001
    """
    A family that ignores every signal, each in a session of its own, is gone with the end.
    """
    deep = "trap '' TERM; setsid sh -c \"trap '' TERM; setsid sleep 63 & sleep 64\" & sleep 65"
    subject = run_exec("sh", "-c", deep, TTL="1s", DRAIN_TIMEOUT="1s", pid1=pid1)
    eventually(lambda: 3 == sum(p.name == "sleep" for p in subject.processes()))
    left = [psutil.Process(p.pid) for p in subject.processes()]

    assert 0 == subject.wait(4)
    assert not any(process.is_running() for process in left)


def test_killed_it_takes_the_command_with_it(run_exec: RunExec) -> None:
    """
    Where it is not PID 1, SIGKILL of it ends the command too, by TERM.
    """
    subject = run_exec(
        "sh", "-c", "trap 'echo got-TERM; exit' TERM; echo ready; sleep 66 & wait", pid1=False
    )
    subject.wait_for_text("ready")
    command = next(
        psutil.Process(p.pid) for p in subject.processes() if p.title.startswith("sh -c")
    )
    at = time.monotonic()
    os.kill(subject.pid, signal.SIGKILL)

    eventually(lambda: is_over(command), 1)
    assert time.monotonic() - at < 1
    subject.wait_for_text("got-TERM")


def test_without_ctypes_it_says_what_it_cannot(run_exec: RunExec, tmp_path: Path) -> None:
    """
    A Python built without ctypes runs the command all the same, and says that orphans may escape.
    """
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['ctypes'] = None")
    subject = run_exec("sh", "-c", "exit 3", pid1=False, PYTHONPATH=str(tmp_path))

    assert 3 == subject.wait()
    assert "cannot adopt" in subject.wait_for_line("exec.not_subreaper")["reason"]


def test_children_are_found_without_the_kernels_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where the kernel keeps no list of children, they are found by asking everyone for its parent.
    """
    ours = [subprocess.Popen(["sleep", "68"]) for _ in range(2)]
    listed = subreaper.children()
    monkeypatch.setattr(subreaper, "open", refusing, raising=False)
    asked = subreaper.children()
    for process in ours:
        process.kill()
        process.wait()

    assert {process.pid for process in ours} <= set(listed)
    assert sorted(listed) == sorted(asked)


def refusing(path: str) -> object:
    """
    Open anything but the kernel's list.
    """
    if path.endswith("/children"):
        raise FileNotFoundError(path)
    return Path(path).open()


def is_over(process: psutil.Process) -> bool:
    """
    Whether it has ended, buried or not: not every machine's init buries orphans.
    """
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True
