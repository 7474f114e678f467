"""
The commands as people type them.
"""

import subprocess
import sys

import pytest


def typed(line: str) -> "subprocess.CompletedProcess[str]":
    """Run a shell line in which `autoexit-nginx` is ours."""
    line = line.replace("autoexit-nginx", f"{sys.executable} -m supervisor")
    return subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False)


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """
    `| head` closes the pipe early: no traceback follows.
    """
    done = typed("autoexit-nginx settings | head -1")

    assert (1, "") == (len(done.stdout.splitlines()), done.stderr)


@pytest.mark.parametrize("words", ["--help", "settings", "--version"])
def test_what_only_tells_needs_no_setting(words: str) -> None:
    """
    Help, settings and version work anywhere, with code 0.
    """
    done = typed(f"autoexit-nginx {words}")

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout


def test_nobody_is_healthy_where_no_supervisor_runs() -> None:
    """
    The health check says so, with code 1.
    """
    done = typed("RUNTIME_DIR=/nonexistent autoexit-nginx healthcheck")

    assert (1, "cannot find a supervisor: none runs on this port\n") == (
        done.returncode,
        done.stderr,
    )
