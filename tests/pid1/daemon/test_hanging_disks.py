"""
Disks that hang: no access to them returns.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.deadlines import on_time
from tests.support.exec_process import ExecProcess
from tests.support.hanging_disk import HangingDisk, why_no_hanging_disk
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Replicas = Callable[..., list[Replica]]
Prepare = Callable[..., Supervised]
RunExec = Callable[..., ExecProcess]


@pytest.fixture
def hang(tmp_path: Path) -> Iterator[Callable[[Path], HangingDisk]]:
    """
    Make a folder hang until the end of the test.
    """
    reason = why_no_hanging_disk(tmp_path / "tried")
    if reason:
        pytest.skip(reason)
    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(HangingDisk(folder))


@pytest.fixture
def hanging(hang: Callable[[Path], HangingDisk], tmp_path: Path) -> str:
    """
    Return a folder that hangs.
    """
    hang(tmp_path / "hangs")
    return str(tmp_path / "hangs")


def control(subject: Supervised, *words: str) -> tuple[int, str]:
    """
    Run a control command; return its code and its output.
    """
    done = subprocess.run(
        [sys.executable, "-m", "supervisor", *words],
        cwd=CHECKOUT,
        env={"RUNTIME_DIR": str(subject.home / "run"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["STATE_DIR", "RUNTIME_DIR"])
def test_a_stop_signal_ends_a_start_that_hangs(
    prepare: Prepare, replicas: Replicas, hanging: str, name: str
) -> None:
    """
    A stop signal while a disk hangs leads to exit code 0 within a second.
    """
    subject = prepare(*replicas("one"), **{name: hanging})
    subject.start().wait_for_log("supervisor.started")
    at = time.monotonic()
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(5)
    assert subject.exit_time - at < 1.0
    (line,) = subject.log_lines("ended")
    assert ("stop signal", hanging) == (line["reason"], line["during"])


@pytest.mark.parametrize("name", ["STATE_DIR", "RUNTIME_DIR"])
def test_the_deadline_ends_a_start_that_hangs(
    prepare: Prepare, replicas: Replicas, hanging: str, name: str
) -> None:
    """
    The TTL counts from the start, whichever disk hangs: exit code 0.
    """
    subject = prepare(*replicas("one"), TTL="2s", **{name: hanging})
    subject.start()

    assert 0 == subject.wait(9)
    began, ended = (subject.log_lines(event)[0] for event in ("supervisor.started", "ended"))
    assert "deadline" == ended["reason"]
    times = [datetime.fromisoformat(line["time"]) for line in (began, ended)]
    assert on_time((times[1] - times[0]).total_seconds(), 2)


def test_a_hanging_state_dir_keeps_nobody_waiting(
    prepare: Prepare, replicas: Replicas, hanging: str
) -> None:
    """
    Without STATE_DIR it serves after START_TIMEOUT, reports the disk in the log and the status,
    answers `extend` with a warning, and ends at the deadline.
    """
    subject = prepare(*replicas("one"), STATE_DIR=hanging, START_TIMEOUT="1s", TTL="60s")
    subject.start().ready(status=200)
    (line,) = subject.log_lines("state.unusable")
    assert "the disk did not respond within 1s" in line["reason"]
    line = subject.wait_for_log("disk.overdue", disk="state")
    assert "cannot write state.json" in line["reason"]
    assert "disk_overdue" in kinds(subject)
    code, text = control(subject, "extend", "-50s")

    assert 0 == code
    assert "could not be saved" in text
    assert 0 == subject.wait(15)
    assert "deadline" == subject.log_lines("ended")[0]["reason"]


def kinds(subject: Supervised) -> list[str]:
    """
    Return the kinds of the warnings in the status.
    """
    status = json.loads(control(subject, "status", "--json")[1])
    return [warning["kind"] for warning in status["warnings"]]


def test_a_hanging_runtime_dir_is_78(prepare: Prepare, replicas: Replicas, hanging: str) -> None:
    """
    Without RUNTIME_DIR nothing can be served: exit code 78 after START_TIMEOUT, with one line.
    """
    subject = prepare(*replicas("one"), RUNTIME_DIR=hanging, START_TIMEOUT="1s")

    assert 78 == subject.start().wait(6)
    assert [
        f"cannot use {hanging}: the disk did not respond within 1s; giving up"
    ] == subject.errors


def test_operator_files_that_hang_end_the_first_start(
    prepare: Prepare, replicas: Replicas, hang: Callable[[Path], HangingDisk]
) -> None:
    """
    If OPERATOR_DIR hangs before nginx has served, the exit code is 78 after START_TIMEOUT.
    """
    subject = prepare(*replicas("one"), START_TIMEOUT="1s", pid1=False)
    hang(subject.home / "operator" / "conf.d")

    assert 78 == subject.start().wait(8)
    (line,) = subject.log_lines("ended")
    reason = "cannot stage the configuration: the disk did not respond within 1s; giving up"
    assert reason == line["message"]


def test_operator_files_that_hang_are_reported(
    prepare: Prepare, replicas: Replicas, hang: Callable[[Path], HangingDisk]
) -> None:
    """
    If OPERATOR_DIR hangs at a SIGHUP, it serves on, says so in the log and the status, and still
    moves the deadline; it continues when the disk responds, and a stop signal ends it in any case.
    """
    subject = prepare(*replicas("one"), START_TIMEOUT="1s", pid1=False)
    subject.start().ready(status=200)
    disk = hang(subject.home / "operator" / "conf.d")
    subject.signal(signal.SIGHUP)
    line = subject.wait_for_log("disk.overdue", disk="config")

    assert line["reason"].startswith("cannot stage the configuration: ")
    assert "disk_overdue" in kinds(subject)
    code, text = control(subject, "extend", "1h")
    assert (0, False) == (code, "could not be saved" in text)
    assert 200 == subject.get().status
    disk.fail()
    subject.wait_for_log("disk.responds", disk="config")
    eventually(lambda: "disk_overdue" not in kinds(subject))
    subject.signal(signal.SIGTERM)
    assert 0 == subject.wait()


def test_exec_obeys_a_stop_signal_while_the_disk_hangs(run_exec: RunExec, hanging: str) -> None:
    """
    `exec` ends with 0 at once, and does not start the command.
    """
    subject = run_exec("sh", "-c", "echo started", STATE_DIR=hanging)
    eventually(lambda: any(p.title.count("exec --") for p in subject.processes()))
    eventually(lambda: waits_for_disk(subject.pid), what="the access")
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(3)
    assert "stop signal before the start" == subject.ended["reason"]
    assert [] == subject.output


def waits_for_disk(pid: int) -> bool:
    """
    Return whether a second thread of a process exists, which accesses the disk.
    """
    return len(list(Path(f"/proc/{pid}/task").iterdir())) > 1


def test_exec_keeps_the_deadline_while_the_disk_hangs(run_exec: RunExec, hanging: str) -> None:
    """
    The TTL of `exec` counts from its start.
    """
    subject = run_exec("sleep", "60", STATE_DIR=hanging, TTL="2s")

    assert 0 == subject.wait(9)
    assert 1.9 <= subject.run_time() <= 6.0
    assert "deadline" == subject.ended["reason"]
    assert [] == [line for line in subject.lines if line["event"] == "exec.started"]
