"""
The commands, run from a shell.
"""

import subprocess
import sys

import pytest


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
