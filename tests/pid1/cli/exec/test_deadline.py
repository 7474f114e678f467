"""
The deadline of a wrapped command: exact, kept over restarts, the same as the supervisor's.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.core import lifecycle
from supervisor.core.config import load as table
from supervisor.system.state_file import read_record
from tests.support.deadlines import EXACT, Clocks, write_raw, write_record
from tests.support.exec_process import EXEC, ExecProcess, trapping
from tests.support.waiting import eventually

RunExec = Callable[..., ExecProcess]

IGNORES = trapping("TERM")


@pytest.mark.parametrize("pid1", [True, False])
def test_at_the_deadline_it_ends_with_0(run_exec: RunExec, pid1: bool) -> None:  # noqa: FBT001
    """
    TTL=5s: the command is told to end at five seconds, and whatever its code, ours is 0.
    """
    subject = run_exec(*trapping("TERM", then="exit 9"), TTL="5s", pid1=pid1)

    assert 0 == subject.wait(8)
    assert 5 == pytest.approx(subject.run_time(), abs=EXACT)
    assert ("deadline", 0, 9) == (
        subject.ended["reason"],
        subject.ended["code"],
        subject.ended["command_code"],
    )


def test_a_command_that_ignores_it_is_cut_at_the_budget(run_exec: RunExec) -> None:
    """
    DRAIN_TIMEOUT is a total as well: TERM at the deadline, KILL 0.3 s before it is used up.
    """
    subject = run_exec(*IGNORES, TTL="1s", DRAIN_TIMEOUT="2s")

    assert 0 == subject.wait(5)
    assert 3 == pytest.approx(subject.run_time(), abs=EXACT)
    assert 137 == subject.ended["command_code"]
    assert subject.ended["drained_in"] <= 2


def test_a_stop_during_the_drain_shortens_it(run_exec: RunExec) -> None:
    """
    Told to stop while the deadline's drain goes on, it has STOP_TIMEOUT left, no longer
    DRAIN_TIMEOUT, and the command is not told a second time.
    """
    subject = run_exec(*IGNORES, TTL="1s", DRAIN_TIMEOUT="30s", STOP_TIMEOUT="1s")
    subject.wait_for_text("got-TERM")
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(1.5)
    assert ["ready", "got-TERM"] == subject.output
    assert "deadline" == subject.ended["reason"]


def test_a_restart_keeps_the_deadline(run_exec: RunExec) -> None:
    """
    Killed and started again, it has what is left of its time, not all of it.
    """
    subject = run_exec("sleep", "60", TTL="4s")
    began = subject.run.started_at
    subject.wait_for_line("exec.started")
    eventually(lambda: time.monotonic() - began > 1.5)
    subject.signal(signal.SIGKILL)
    subject.wait()
    subject.again()

    assert 0 == subject.wait(6)
    assert subject.run.exited_at is not None
    assert 4 == pytest.approx(subject.run.exited_at - began, abs=EXACT)


def test_past_the_deadline_nothing_is_started(run_exec: RunExec, tmp_path: Path) -> None:
    """
    A restart after the deadline ends with 0 at once, and the command never runs.
    """
    folder = write_record(tmp_path / "state", deadline=time.time() - 1, origin="TTL=3599s")
    subject = run_exec("touch", str(tmp_path / "ran"), STATE_DIR=folder, TTL="3599s")

    assert 0 == subject.wait(1)
    assert "deadline passed before this start" == subject.ended["reason"]
    assert not (tmp_path / "ran").exists()


def test_a_changed_ttl_counts_from_the_first_start(run_exec: RunExec, tmp_path: Path) -> None:
    """
    A TTL that was changed for a restart counts from the first start, and that is said.
    """
    folder = write_record(tmp_path / "state")  # an hour ago, TTL=2h
    subject = run_exec("sleep", "60", STATE_DIR=folder, TTL="3h")

    assert subject.wait_for_line("exec.started")["remaining"] == pytest.approx(7200, abs=2)
    assert "counting from the first start" in subject.wait_for_line("deadline.anchored")["reason"]


def test_another_allocations_record_does_not_count(run_exec: RunExec, tmp_path: Path) -> None:
    """
    A sticky disk carries an old allocation's record over: it is said, and counted anew.
    """
    folder = write_record(tmp_path / "state", allocation="old", deadline=time.time() - 9)
    subject = run_exec("sleep", "60", STATE_DIR=folder, TTL="2h", NOMAD_ALLOC_ID="new")

    assert subject.wait_for_line("exec.started")["remaining"] == pytest.approx(7200, abs=2)
    assert "another allocation" in subject.wait_for_line("deadline.anchored")["reason"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"x" * 100_000, b'{"first_start": -1}'])
def test_a_damaged_record_is_a_warning(run_exec: RunExec, tmp_path: Path, content: bytes) -> None:
    """
    What cannot be read is said, the command runs, and its time counts from now.
    """
    folder = write_raw(tmp_path / "state", content)
    subject = run_exec("sleep", "60", STATE_DIR=folder, TTL="1h")

    assert subject.wait_for_line("exec.started")["remaining"] == pytest.approx(3600, abs=1)
    assert "cannot use" in subject.wait_for_line("state.unusable")["reason"]


def test_a_folder_that_cannot_be_is_a_warning(run_exec: RunExec, tmp_path: Path) -> None:
    """
    Where the deadline cannot be kept the command runs all the same, and that is said.
    """
    (tmp_path / "file").touch()
    subject = run_exec("true", STATE_DIR=str(tmp_path / "file" / "state"))

    assert 0 == subject.wait()
    assert "cannot" in subject.wait_for_line("state.unusable")["reason"]


def test_each_task_has_a_record_of_its_own(run_exec: RunExec, tmp_path: Path) -> None:
    """
    In an allocation the record stands in its shared folder, by the task's name.
    """
    subject = run_exec(
        "true", STATE_DIR="", NOMAD_ALLOC_DIR=str(tmp_path), NOMAD_TASK_NAME="replica"
    )

    assert 0 == subject.wait()
    record = json.loads((tmp_path / "data/autoexit-nginx/replica/state.json").read_text())
    assert "TTL=1d" == record["origin"]


def test_the_supervisor_reads_what_exec_wrote(run_exec: RunExec) -> None:
    """
    Both keep the same record and draw the same deadline from it.
    """
    subject = run_exec("true", TTL="1h")
    assert 0 == subject.wait()
    record, trouble = read_record(subject.state_dir)

    assert (record, "") != (None, trouble)
    settings = table.read({"TTL": "1h", "ENDPOINTS": "10.0.0.5:5000"}, os.path.exists)
    anchor = lifecycle.resolve(settings, record, time.time())
    assert ("", record) == (anchor.warning, anchor.record)


def test_two_that_share_a_deadline_end_together(run_exec: RunExec) -> None:
    """
    Two tasks with one DEADLINE, started apart, end within half a second of each other.
    """
    deadline = f"{time.time() + 4:.3f}"
    one = run_exec("sleep", "60", DEADLINE=deadline)
    one.wait_for_line("exec.started")
    two = run_exec("sleep", "60", DEADLINE=deadline, TTL="1h")

    assert [0, 0] == [one.wait(8), two.wait(8)]
    assert one.run.exited_at is not None
    assert two.run.exited_at is not None
    assert abs(one.run.exited_at - two.run.exited_at) < EXACT


@pytest.mark.parametrize("step", [-86400.0, 86400.0])
def test_the_wall_clock_moves_nothing(run_exec: RunExec, tmp_path: Path, step: float) -> None:
    """
    A day forwards or back on the wall does not move a deadline that runs.
    """
    clocks = Clocks(tmp_path)
    subject = run_exec("sleep", "60", TTL="3s", PYTHONPATH=clocks.path)
    subject.wait_for_line("exec.started")
    clocks.step(wall=step)

    assert 0 == subject.wait(6)
    assert 3 == pytest.approx(subject.run_time(), abs=EXACT)


def test_suspend_does_not_stretch_it(run_exec: RunExec, tmp_path: Path) -> None:
    """
    What a suspended machine slept counts: the end comes with the next waking, 5 s at most.
    """
    clocks = Clocks(tmp_path)
    subject = run_exec("sleep", "60", TTL="1h", PYTHONPATH=clocks.path)
    subject.wait_for_line("exec.started")
    clocks.step(suspended=3600)

    assert 0 == subject.wait(6)
    assert "deadline" == subject.ended["reason"]


@pytest.mark.parametrize("ttl", ["0", "never", "10000d"])
def test_no_limit_and_a_very_long_one(run_exec: RunExec, ttl: str) -> None:
    """
    No deadline is none, and one in 27 years overflows nothing.
    """
    subject = run_exec("sleep", "60", TTL=ttl)
    subject.wait_for_line("exec.started")
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(2)


def test_a_reader_that_is_away_moves_nothing(run_exec: RunExec) -> None:
    """
    Nobody reads what the command prints, and the pipe is full: it ends at its deadline.
    """
    full, theirs = os.pipe()
    os.set_blocking(theirs, False)
    try:
        while True:
            os.write(theirs, b"x" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(theirs, True)
    end = f'exec "$@" 2>/proc/{os.getpid()}/fd/{theirs}'
    subject = run_exec(
        "sleep", "60", TTL="2s", exec_words=("sh", "-c", end, "sh", *EXEC), pid1=False
    )

    assert 0 == subject.wait(5)
    assert 2 == pytest.approx(subject.run_time(), abs=EXACT + 0.4)
    ended = json.loads((subject.state_dir / "ended.json").read_text())
    assert ("deadline", 3) == (ended["reason"], ended["log_lines_dropped"])
    os.close(full)
    os.close(theirs)
