"""
A wrapped command at a terminal: the keyboard's signals come once, and job control works.
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
    Ctrl-C is the command's own matter: it hears it once, and decides the code.
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
def test_a_shell_has_its_job_control(run_exec: RunExec, pid1: bool) -> None:  # noqa: FBT001
    """
    `docker run -it IMAGE exec -- bash`: no complaint, jobs can be stopped and continued.
    """
    subject = run_exec("bash", "--norc", "-i", stdout="tty", pid1=pid1, PS1="$ ")
    subject.run.type_keys(b"sleep 67\n")
    subject.find("sleep 67")
    subject.run.type_keys(b"\x1a")
    eventually(lambda: "Stopped" in screen(subject))
    subject.run.type_keys(b"kill %1; fg; echo back; exit 8\n")

    assert 8 == subject.wait(5)
    assert "job control" not in screen(subject)


def test_ctrl_z_gives_the_shell_above_its_prompt_back(run_exec: RunExec) -> None:
    """
    On a laptop Ctrl-Z stops the command and us with it, so that the shell sees it; `fg` puts both
    back, and Ctrl-C works as before.
    """
    line = f"{shlex.join(EXEC)} sleep 69\n"  # no shell: one that vforks may be caught unstoppable
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
    Who goes on after us reads from the terminal again.
    """
    script = f"{shlex.join(EXEC)} true; read -r word; echo read-$word"
    subject = run_exec("-c", script, exec_words=("sh",), stdout="tty", pid1=False)
    subject.wait_for_line("ended")
    subject.run.type_keys(b"this\n")

    subject.wait_for_text("read-this")
    assert 0 == subject.wait(3)


def test_a_stop_signal_is_a_stop_at_a_terminal_too(run_exec: RunExec) -> None:
    """
    `docker stop` of a container with a terminal ends it with 0.
    """
    subject = run_exec(*trapping("TERM", then="exit 3"), stdout="tty")
    subject.wait_for_text("ready")
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(3)


def screen(subject: ExecProcess) -> str:
    """
    Return all that the terminal shows; what was typed and what was said may share a line.
    """
    return "\n".join(subject.run.journal.lines)
