"""
`exec` at a terminal: the keyboard's signals arrive once, and job control works.
"""

import os
import shlex
import signal
from collections.abc import Callable

import psutil
import pytest

from tests.support.exec_process import EXEC, ExecProcess, trapping
from tests.support.waiting import eventually

RunExec = Callable[..., ExecProcess]


@pytest.mark.parametrize("pid1", [True, False])
def test_ctrl_c_reaches_the_command_once(run_exec: RunExec, pid1: bool) -> None:  # noqa: FBT001
    """
    The command gets the signal of Ctrl-C once, and decides the exit code.
    """
    count = "n=0; trap 'n=$((n+1)); echo got-$n' INT; trap 'exit 6' QUIT; echo ready"
    subject = run_exec(
        "sh", "-c", f"{count}; while :; do sleep 0.05; done", stdout="tty", pid1=pid1
    )
    subject.wait_for_text("ready")
    subject.run.type_keys(b"\x03")
    eventually(lambda: "got-1" in screen(subject))
    subject.run.type_keys(b"\x1c")

    assert 6 == subject.wait(3)
    assert "got-2" not in screen(subject)
    assert '"reason": "command ended"' in screen(subject)


@pytest.mark.parametrize("pid1", [True, False])
def test_a_shell_has_job_control(run_exec: RunExec, pid1: bool) -> None:  # noqa: FBT001
    """
    In `docker run -it IMAGE exec -- bash` jobs can be stopped and continued, without a warning.
    """
    subject = run_exec("bash", "--norc", "-i", stdout="tty", pid1=pid1, PS1="$ ")
    subject.run.type_keys(b"sleep 67\n")
    subject.find("sleep 67")
    subject.run.type_keys(b"\x1a")
    eventually(lambda: "Stopped" in screen(subject))
    subject.run.type_keys(b"kill %1; fg; echo back; exit 8\n")

    assert 8 == subject.wait(5)
    assert "job control" not in screen(subject)


def test_ctrl_z_returns_to_the_calling_shell(run_exec: RunExec) -> None:
    """
    Ctrl-Z stops the command and `exec`, so that the calling shell shows its prompt; `fg` resumes
    both, and Ctrl-C works as before.
    """
    line = f"{shlex.join(EXEC)} sleep 69\n"  # not a shell: a vfork cannot be stopped
    subject = run_exec("--norc", "-i", exec_words=("bash",), stdout="tty", pid1=False, PS1="$ ")
    subject.run.type_keys(line.encode())
    subject.wait_for_line("exec.started")
    subject.run.type_keys(b"\x1a")
    eventually(lambda: "Stopped" in screen(subject))
    subject.run.type_keys(b"fg\n")
    ours = next(p for p in subject.processes() if p.title.startswith(shlex.join(EXEC)))
    eventually(lambda: psutil.STATUS_STOPPED != psutil.Process(ours.pid).status())
    eventually(lambda: ours.pid != os.tcgetpgrp(subject.run._held))
    subject.run.type_keys(b"\x03")
    eventually(lambda: '"code": 130' in screen(subject))
    subject.run.type_keys(b"exit 2\n")

    assert 2 == subject.wait(5)


def test_a_script_has_the_terminal_back_afterwards(run_exec: RunExec) -> None:
    """
    The calling script can read from the terminal again after `exec`.
    """
    script = f"{shlex.join(EXEC)} true; read -r word; echo read-$word"
    subject = run_exec("-c", script, exec_words=("sh",), stdout="tty", pid1=False)
    subject.wait_for_line("ended")
    subject.run.type_keys(b"this\n")

    subject.wait_for_text("read-this")
    assert 0 == subject.wait(3)


def test_a_stop_signal_is_a_stop_at_a_terminal_too(run_exec: RunExec) -> None:
    """
    `docker stop` of a container with a terminal leads to exit code 0.
    """
    subject = run_exec(*trapping("TERM", then="exit 3"), stdout="tty")
    subject.wait_for_text("ready")
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(3)


def screen(subject: ExecProcess) -> str:
    """
    Return everything the terminal shows; input and output may share a line.
    """
    return "\n".join(subject.run.output.lines)
