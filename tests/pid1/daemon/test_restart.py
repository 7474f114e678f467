"""
A restart: the recorded deadline of an earlier start applies.
"""

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.deadlines import ended_at, first_start, on_time, run_time, write_record
from tests.support.fake_nginx import FakeNginx
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]


def test_D10_a_restart_has_the_remaining_time(supervise: Supervise) -> None:
    """
    Killed and started again, the program exits at the first start's deadline; the record is
    unchanged.
    """
    subject = supervise(TTL="8s")
    subject.ready()
    record = subject.state
    assert record
    eventually(lambda: time.time() >= first_start(subject) + 2)
    subject.signal(signal.SIGKILL)
    subject.wait(5)
    subject.start().ready()

    assert record == subject.state
    assert 0 == subject.wait(12)
    assert on_time(run_time(subject), 8)


def test_D10_a_recorded_deadline_ahead_is_kept(supervise: Supervise, tmp_path: Path) -> None:
    """
    A TTL of two hours whose first start was 7197 s ago has three seconds left.
    """
    now = time.time()
    folder = write_record(tmp_path / "state", first_start=now - 7197, deadline=now + 3)
    subject = supervise(TTL="2h", STATE_DIR=folder)

    assert 503 == subject.ready().status
    assert 0 == subject.wait(10)
    assert on_time(ended_at(subject), now + 3)


def test_D11_past_its_deadline_it_never_opens_the_port(
    supervise: Supervise, fake_nginx: FakeNginx, tmp_path: Path
) -> None:
    """
    Restarted after the deadline the program exits with 0 within 1 s, logs the reason, and never
    runs nginx.

    The port is in use meanwhile: opening it would fail, and the exit code would be 69.
    """
    now = time.time()
    folder = write_record(tmp_path / "state", first_start=now - 7201, deadline=now - 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"TTL": "2h", "STATE_DIR": folder, "NGINX_BINARY": str(fake_nginx)}
        durations: list[float] = []
        # Docker alone needs up to 0.6 s to start a container.
        limit = 2.0 if os.environ.get("AUTOEXIT_SUBJECT") == "image" else 1.0
        while len(durations) < 8 and min(durations, default=9.0) > limit:  # it may be busy
            subject = supervise(LISTEN_PORT=str(port), **settings)
            assert 0 == subject.wait(10)
            durations.append(subject.lasted)
            (line,) = subject.log_lines("ended", code=0)
            assert "deadline passed before this start" == line["reason"]
            assert folder in line["hint"]

    assert min(durations) <= limit
    assert [] == [*fake_nginx.runs, *fake_nginx.checks]
    assert (
        "deadline passed before this start"
        == json.loads((tmp_path / "state" / "ended.json").read_text())["reason"]
    )


def test_a_state_dir_has_one_supervisor_at_a_time(supervise: Supervise, tmp_path: Path) -> None:
    """
    A second one, on another port, exits with 78 and names the folder; neither the record nor
    ended.json of the first one changes.  When the first has exited the folder is free.
    """
    folder = tmp_path / "state"
    first = supervise(STATE_DIR=str(folder), TTL="1h")
    first.ready()
    record = (folder / "state.json").read_bytes()

    second = supervise(STATE_DIR=str(folder), TTL="2h")
    assert 78 == second.wait(10)
    reason = f"cannot use STATE_DIR='{folder}': another autoexit-nginx uses it; giving up"
    assert [reason] == second.errors
    assert [reason] == [line["reason"] for line in second.log_lines("ended")]
    assert record == (folder / "state.json").read_bytes()
    assert not (folder / "ended.json").exists()

    first.signal(signal.SIGKILL)
    first.wait()
    second.start().ready()


def test_a_deadline_in_the_past_at_the_first_start_is_no_restart(supervise: Supervise) -> None:
    """
    The last line names the setting and its value, and what to set; nothing is served.
    """
    subject = supervise(DEADLINE="2026-01-31T18:00:00Z")

    assert 0 == subject.wait(10)
    (line,) = subject.log_lines("ended", code=0)
    assert "DEADLINE=2026-01-31T18:00:00Z is in the past" == line["reason"]
    assert line["hint"].startswith("set a later DEADLINE; the clock of this machine is at ")


def test_D11_a_restart_after_the_deadline_exits_again(supervise: Supervise) -> None:
    """
    A restart of a task that exited at its deadline exits with code 0 again.
    """
    subject = supervise(TTL="3s")
    subject.ready()
    assert 0 == subject.wait(10)

    for _ in range(2):
        assert 0 == subject.start().wait(10)
        assert subject.lasted < 3
        assert [] == subject.log_lines("nginx.started")


def test_D18_another_allocations_record_does_not_count(
    supervise: Supervise, tmp_path: Path
) -> None:
    """
    A record that a sticky disk carried over from another allocation is ignored, and this is logged.
    """
    now = time.time()
    folder = write_record(
        tmp_path / "state", allocation="another", first_start=now - 9000, deadline=now - 1800
    )
    subject = supervise(TTL="2h", STATE_DIR=folder, NOMAD_ALLOC_ID="this one")
    subject.ready()

    assert "another allocation" in subject.wait_for_log("deadline.anchored")["reason"]
    assert subject.wait_for_log("deadline.set")["remaining"] == pytest.approx(7200, abs=1)
    assert subject.state
    assert "this one" == subject.state["allocation"]


def test_D18_a_changed_ttl_counts_from_the_first_start(
    supervise: Supervise, tmp_path: Path
) -> None:
    """
    A TTL that was changed for a restart counts from the first start; an extension is dropped.
    """
    now = time.time()
    folder = write_record(tmp_path / "state", first_start=now - 1797, extended_to=now + 99)
    subject = supervise(TTL="30m", STATE_DIR=folder)
    subject.ready()

    assert "TTL=2h became TTL=30m" in subject.wait_for_log("deadline.anchored")["reason"]
    assert 0 == subject.wait(10)
    assert on_time(ended_at(subject), now + 3)
