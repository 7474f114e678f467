"""
The deadline of `exec`: exact, kept over restarts, the same as the supervisor's.
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
def test_at_the_deadline_it_exits_with_0(run_exec: RunExec, pid1: bool) -> None:  # noqa: FBT001
    """
    With TTL=5s the command gets TERM after five seconds; whatever its exit code, `exec` returns 0.
    """
    subject = run_exec(*trapping("TERM", then="exit 9"), TTL="5s", pid1=pid1)

    assert 0 == subject.wait(8)
    assert 5 == pytest.approx(subject.run_time(), abs=EXACT)
    assert ("deadline", 0, 9) == (
        subject.ended["reason"],
        subject.ended["code"],
        subject.ended["command_code"],
    )


def test_a_command_that_ignores_term_is_killed_within_the_budget(run_exec: RunExec) -> None:
    """
    DRAIN_TIMEOUT is a total as well: TERM at the deadline, KILL 0.3 s before it ends.
    """
    subject = run_exec(*IGNORES, TTL="1s", DRAIN_TIMEOUT="2s")

    assert 0 == subject.wait(5)
    assert 3 == pytest.approx(subject.run_time(), abs=EXACT)
    assert 137 == subject.ended["command_code"]
    assert subject.ended["drained_in"] <= 2


def test_a_stop_during_the_drain_shortens_it(run_exec: RunExec) -> None:
    """
    A stop signal during the deadline's drain shortens the remaining time to STOP_TIMEOUT; the
    command gets no second signal.
    """
    subject = run_exec(*IGNORES, TTL="1s", DRAIN_TIMEOUT="30s", STOP_TIMEOUT="1s")
    subject.wait_for_text("got-TERM")
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(1.5)
    assert ["ready", "got-TERM"] == subject.output
    assert "deadline" == subject.ended["reason"]


def test_a_restart_keeps_the_deadline(run_exec: RunExec) -> None:
    """
    Killed and started again, `exec` has only the remaining time.
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
    A restart after the deadline exits with 0 at once, and the command does not run.
    """
    folder = write_record(tmp_path / "state", deadline=time.time() - 1, origin="TTL=3599s")
    subject = run_exec("touch", str(tmp_path / "ran"), STATE_DIR=folder, TTL="3599s")

    assert 0 == subject.wait(1)
    assert "deadline passed before this start" == subject.ended["reason"]
    assert not (tmp_path / "ran").exists()


def test_a_deadline_in_the_past_at_the_first_start_is_no_restart(
    run_exec: RunExec, tmp_path: Path
) -> None:
    """
    The last line names the setting and its value, and what to set; the command does not run.
    """
    subject = run_exec("touch", str(tmp_path / "ran"), DEADLINE="2026-01-31T18:00:00Z")

    assert 0 == subject.wait(10)
    assert "DEADLINE=2026-01-31T18:00:00Z is in the past" == subject.ended["reason"]
    assert subject.ended["hint"].startswith("set a later DEADLINE; the clock of this machine is")
    assert not (tmp_path / "ran").exists()


def test_a_changed_ttl_counts_from_the_first_start(run_exec: RunExec, tmp_path: Path) -> None:
    """
    A TTL that was changed for a restart counts from the first start, with a log line.
    """
    folder = write_record(tmp_path / "state")  # an hour ago, TTL=2h
    subject = run_exec("sleep", "60", STATE_DIR=folder, TTL="3h")

    assert subject.wait_for_line("exec.started")["remaining"] == pytest.approx(7200, abs=2)
    assert "counting from the first start" in subject.wait_for_line("deadline.anchored")["reason"]


def test_another_allocations_record_does_not_count(run_exec: RunExec, tmp_path: Path) -> None:
    """
    A record that a sticky disk carried over from another allocation is dropped, with a log line.
    """
    folder = write_record(tmp_path / "state", allocation="old", deadline=time.time() - 9)
    subject = run_exec("sleep", "60", STATE_DIR=folder, TTL="2h", NOMAD_ALLOC_ID="new")

    assert subject.wait_for_line("exec.started")["remaining"] == pytest.approx(7200, abs=2)
    assert "another allocation" in subject.wait_for_line("deadline.anchored")["reason"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"x" * 100_000, b'{"first_start": -1}'])
def test_a_damaged_record_is_a_warning(run_exec: RunExec, tmp_path: Path, content: bytes) -> None:
    """
    An unreadable record leads to a warning; the command runs, and its TTL counts from now.
    """
    folder = write_raw(tmp_path / "state", content)
    subject = run_exec("sleep", "60", STATE_DIR=folder, TTL="1h")

    assert subject.wait_for_line("exec.started")["remaining"] == pytest.approx(3600, abs=1)
    assert "cannot use" in subject.wait_for_line("state.unusable")["reason"]


def test_an_unusable_folder_is_a_warning(run_exec: RunExec, tmp_path: Path) -> None:
    """
    If the deadline cannot be stored the command still runs, with a warning.
    """
    (tmp_path / "file").touch()
    subject = run_exec("true", STATE_DIR=str(tmp_path / "file" / "state"))

    assert 0 == subject.wait()
    assert "cannot" in subject.wait_for_line("state.unusable")["reason"]


def test_each_task_has_a_record_of_its_own(run_exec: RunExec, tmp_path: Path) -> None:
    """
    In an allocation the record is in the shared folder, under the task's name.
    """
    subject = run_exec(
        "true", STATE_DIR="", NOMAD_ALLOC_DIR=str(tmp_path), NOMAD_TASK_NAME="replica"
    )

    assert 0 == subject.wait()
    record = json.loads((tmp_path / "data/autoexit-nginx/replica/state.json").read_text())
    assert "TTL=1d" == record["origin"]


def test_the_supervisor_reads_what_exec_wrote(run_exec: RunExec) -> None:
    """
    Both store the same record and derive the same deadline from it.
    """
    subject = run_exec("true", TTL="1h")
    assert 0 == subject.wait()
    record, problem = read_record(subject.state_dir)

    assert (record, "") != (None, problem)
    settings = table.read({"TTL": "1h", "ENDPOINTS": "10.0.0.5:5000"}, os.path.exists)
    anchor = lifecycle.resolve(settings, record, time.time())
    assert ("", record) == (anchor.warning, anchor.record)


def test_two_that_share_a_deadline_end_together(run_exec: RunExec) -> None:
    """
    Two tasks with one DEADLINE, started at different times, exit within half a second.
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
    A wall clock set ahead or back by a day does not move a running deadline.
    """
    clocks = Clocks(tmp_path)
    subject = run_exec("sleep", "60", TTL="3s", PYTHONPATH=clocks.path)
    subject.wait_for_line("exec.started")
    clocks.step(wall=step)

    assert 0 == subject.wait(12)
    assert 2.9 <= subject.run_time() <= 10  # not early, not a day late; another test is exact


def test_a_suspend_does_not_extend_the_deadline(run_exec: RunExec, tmp_path: Path) -> None:
    """
    Time in suspend counts: the deadline takes effect at most 5 s after resuming.
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
    TTL=0 or never means no deadline, and one in 27 years overflows nothing.
    """
    subject = run_exec("sleep", "60", TTL=ttl)
    subject.wait_for_line("exec.started")
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(2)


def test_an_unread_output_delays_nothing(run_exec: RunExec) -> None:
    """
    The pipe for the log is full and unread: `exec` still exits at its deadline.
    """
    unread, theirs = os.pipe()
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
    os.close(unread)
    os.close(theirs)
