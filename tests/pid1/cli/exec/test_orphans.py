"""
The orphans of a command under `exec`: reaped, signalled and killed, never left behind.
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
def test_orphans_are_reaped(run_exec: RunExec, pid1: bool) -> None:  # noqa: FBT001
    """
    Two hundred orphans exit while the command runs: two seconds later no zombie is left, and none
    of them was mistaken for the command.
    """
    script = (
        f"i=0; while [ $i -lt {ORPHANS} ]; do (sleep 0.$((i % 9)) &); i=$((i + 1)); done;"
        " echo started; exec sleep 60"
    )
    subject = run_exec("sh", "-c", script, pid1=pid1)
    subject.wait_for_text("started")

    eventually(lambda: {"sleep"} >= {p.name for p in subject.processes() if p.pid != subject.pid})
    eventually(lambda: 2 == len(subject.processes()), 3, what="only exec and its command")
    assert not subject.run.exited.is_set()


@pytest.mark.parametrize("pid1", [True, False])
def test_a_command_that_goes_to_the_background_has_ended(run_exec: RunExec, pid1: bool) -> None:  # noqa: FBT001
    """
    A daemon that the command leaves is not waited for: `exec` returns the command's code, and kills
    and counts the remaining processes, even in other sessions.
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
    Processes that ignore TERM, each in its own session, are gone when `exec` exits.
    """
    deep = "trap '' TERM; setsid sh -c \"trap '' TERM; setsid sleep 63 & sleep 64\" & sleep 65"
    subject = run_exec("sh", "-c", deep, TTL="1s", DRAIN_TIMEOUT="1s", pid1=pid1)
    eventually(lambda: 3 == sum(p.name == "sleep" for p in subject.processes()))
    left = [psutil.Process(p.pid) for p in subject.processes()]

    assert 0 == subject.wait(4)
    assert not any(process.is_running() for process in left)


def test_a_killed_exec_ends_its_command(run_exec: RunExec) -> None:
    """
    Without PID 1, SIGKILL of `exec` ends the command too, by TERM.
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

    eventually(lambda: has_exited(command), 1)
    assert time.monotonic() - at < 1
    subject.wait_for_text("got-TERM")


def test_without_ctypes_it_logs_a_warning(run_exec: RunExec, tmp_path: Path) -> None:
    """
    A Python built without ctypes still runs the command, with a warning that orphans may escape.
    """
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['ctypes'] = None")
    subject = run_exec("sh", "-c", "exit 3", pid1=False, PYTHONPATH=str(tmp_path))

    assert 3 == subject.wait()
    assert "cannot adopt" in subject.wait_for_line("exec.not_subreaper")["reason"]


def test_children_are_found_without_the_kernels_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    On a kernel without lists of children, they are found by the parents of all processes.
    """
    started = [subprocess.Popen(["sleep", "68"]) for _ in range(2)]
    listed = subreaper.children()
    monkeypatch.setattr(subreaper, "open", open_without_list, raising=False)
    scanned = subreaper.children()
    for process in started:
        process.kill()
        process.wait()

    assert {process.pid for process in started} <= set(listed)
    assert sorted(listed) == sorted(scanned)


def open_without_list(path: str) -> object:
    """
    Open any file but the kernel's list of children.
    """
    if path.endswith("/children"):
        raise FileNotFoundError(path)
    return Path(path).open()


def has_exited(process: psutil.Process) -> bool:
    """
    Whether a process has exited; a zombie counts, as not every machine's init reaps orphans.
    """
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True
