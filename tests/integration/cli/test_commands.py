"""
The commands, run from a shell.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.admin_subject import running_with_admin
from tests.support.fake_nomad import FakeNomad
from tests.support.subjects import Ours


def typed(line: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell line in which `autoexit-nginx` is this checkout."""
    line = line.replace("autoexit-nginx", f"{sys.executable} -m supervisor")
    return subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False)


def test_a_closed_pipe_is_no_error() -> None:
    """
    `| head` closes the pipe early, without a traceback.
    """
    done = typed("autoexit-nginx settings | head -1")

    assert (1, "") == (len(done.stdout.splitlines()), done.stderr)


@pytest.mark.parametrize("arguments", ["--help", "settings", "--version"])
def test_informational_commands_need_no_setting(arguments: str) -> None:
    """
    Help, settings and version exit with 0 without any setting.
    """
    done = typed(f"autoexit-nginx {arguments}")

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout


def test_the_health_check_fails_without_a_supervisor() -> None:
    """
    It exits with 1 and one line.
    """
    done = typed("RUNTIME_DIR=/nonexistent autoexit-nginx healthcheck")

    assert 1 == done.returncode
    assert "cannot find a running supervisor; check LISTEN_PORT or RUNTIME_DIR\n" == done.stderr


@pytest.mark.parametrize("command", ["healthcheck", "status"])
def test_a_stale_socket_does_not_hide_the_supervisor(command: str) -> None:
    """
    The socket of one that was killed is in an earlier folder of the search: the search continues.
    """
    with running_with_admin("one") as subject, socket.socket(socket.AF_UNIX) as stale:
        port = str(subject.port)
        (subject.home / "task" / port).mkdir(parents=True)
        stale.bind(str(subject.home / "task" / port / "supervisor.sock"))
        later = subject.home / f"autoexit-nginx-{os.geteuid()}"
        later.mkdir()
        (later / port).symlink_to(subject.home / "run")
        places = f"NOMAD_TASK_DIR={subject.home}/task TMPDIR={subject.home}"
        done = typed(f"{places} LISTEN_PORT={port} autoexit-nginx {command}")

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("healthy" if command == "healthcheck" else "web: ")


@pytest.mark.parametrize("is_on_path", [True, False])
def test_the_command_from_outside_finds_the_program(nomad: FakeNomad, *, is_on_path: bool) -> None:
    """
    It has the bare name in an image, where the program is on PATH, and otherwise the path by which
    the task started it, as with raw_exec.
    """
    program = Path(sys.executable).parent / "autoexit-nginx"
    subject = Ours(nomad, command=(str(program), "run"))
    path = os.pathsep.join([*([str(program.parent)] if is_on_path else []), "/usr/bin", "/bin"])
    with running_with_admin(
        nomad=nomad, subject=subject, NOMAD_ALLOC_ID="5ec6c5d6", PATH=path
    ) as started:
        started.ready()
        command = started.status()["instance"]["command"]
    expected = "autoexit-nginx" if is_on_path else str(program)
    assert f"nomad alloc exec 5ec6c5d6 {expected}" == command
