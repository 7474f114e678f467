"""
The exit codes of `exec`.
"""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.exec_process import EXEC, ExecProcess, trapping

RunExec = Callable[..., ExecProcess]


@pytest.mark.parametrize("code", [0, 1, 2, 64, 69, 70, 78, 126, 127, 128, 137, 255])
def test_the_command_s_code_is_returned(run_exec: RunExec, code: int) -> None:
    """
    A command that exits by itself decides the exit code, which is also in ended.json.
    """
    subject = run_exec("sh", "-c", f"exit {code}")

    assert code == subject.wait()
    assert ("command ended", code, code) == (
        subject.ended["reason"],
        subject.ended["code"],
        subject.ended["command_code"],
    )
    assert f'"code": {code}' in (subject.state_dir / "ended.json").read_text()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
@pytest.mark.parametrize("pid1", [True, False])
def test_a_death_by_signal_is_128_plus_the_signal(
    run_exec: RunExec, signum: int, *, pid1: bool
) -> None:
    """
    A command that dies by a signal not sent through `exec` leads to 143, 137 or 139.
    """
    subject = run_exec("sh", "-c", f"kill -{int(signum)} $$", pid1=pid1)

    assert 128 + signum == subject.wait()
    assert (signum == signal.SIGKILL) == ("memory" in subject.ended.get("hint", ""))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("its", [0, 3])
def test_after_a_stop_signal_it_exits_with_0(
    run_exec: RunExec, signum: signal.Signals, its: int
) -> None:
    """
    After a stop signal the exit code is 0, whatever the command's code, which is logged.
    """
    name = signum.name.removeprefix("SIG")
    subject = run_exec(*trapping(name, then=f"exit {its}"))
    subject.wait_for_text("ready")
    subject.signal(signum)

    assert 0 == subject.wait(3)
    assert f"got-{name}" in subject.output
    assert ("stop signal", its) == (subject.ended["reason"], subject.ended["command_code"])


def test_a_stop_that_kills_the_command_is_0_too(run_exec: RunExec) -> None:
    """
    A command without a handler dies by the signal: timeout(1) returns 143, `exec` 0.
    """
    subject = run_exec("sleep", "60")
    subject.wait_for_line("exec.started")
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(2)
    assert 143 == subject.ended["command_code"]


@pytest.mark.parametrize(
    "word, code",
    [("no-such-command", 127), ("/no/such/command", 127), ("/etc", 126), ("FILE", 126)],
)
def test_a_command_that_cannot_be_executed(
    run_exec: RunExec, tmp_path: Path, word: str, code: int
) -> None:
    """
    A missing command leads to 127, one that is not executable to 126, both with a reason.
    """
    file = tmp_path / "command"
    file.write_text("#!/bin/sh\n")  # no permission to execute
    word = str(file) if word == "FILE" else word
    subject = run_exec(word)

    assert code == subject.wait()
    assert subject.ended["reason"].startswith(f"cannot execute '{word}': ")


def test_a_missing_interpreter_is_126(run_exec: RunExec, tmp_path: Path) -> None:
    """
    A script with a missing interpreter leads to 126 and a reason that names the interpreter.
    """
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    subject = run_exec(str(script))

    assert 126 == subject.wait()
    assert "interpreter" in subject.ended["reason"]


@pytest.mark.parametrize("words", [(), ("--foreground", "sleep", "1")])
def test_a_wrong_command_line_is_64(run_exec: RunExec, words: tuple[str, ...]) -> None:
    """
    A missing command or an unknown option leads to 64 and one line.
    """
    subject = run_exec(*words, exec_words=EXEC[:-1])

    assert 64 == subject.wait()
    (line,) = subject.run.stderr.plain
    assert line.startswith("cannot read the command line: ")


def test_all_invalid_settings_are_reported(run_exec: RunExec, tmp_path: Path) -> None:
    """
    Invalid settings lead to 78 before the command starts, with a line for each.
    """
    subject = run_exec(
        "touch",
        str(tmp_path / "started"),
        TTL="soon",
        DURATION="1h",
        DEADLINE="tomorrow",
        STOP_TIMEOUT="-1",
        DRAIN_TIMEOUT="long",
    )

    assert 78 == subject.wait()
    assert ["TTL='soon' and DURATION='1h'", "TTL", "DEADLINE", "STOP_TIMEOUT", "DRAIN_TIMEOUT"] == [
        line.split(" differ")[0] if "differ" in line else line.split("=")[0]
        for line in subject.run.stderr.plain
    ]
    assert not (tmp_path / "started").exists()


def test_settings_that_exec_does_not_use_are_ignored(run_exec: RunExec) -> None:
    """
    The environment belongs to the command: its own LOG_LEVEL or HEALTH_PATH is not checked.
    """
    subject = run_exec(
        "sh", "-c", "echo $LOG_LEVEL $HEALTH_PATH $TTL", LOG_LEVEL="trace", HEALTH_PATH="x", TTL="9"
    )

    assert 0 == subject.wait()
    assert ["trace x 9"] == subject.output
