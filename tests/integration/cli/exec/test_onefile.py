"""
The one file: small, reproducible, and run by any Python from 3.9 on without dependencies.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tools import onefile

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    The file, built in its own folder, so that nothing of the checkout is beside it.
    """
    return onefile.make(tmp_path_factory.mktemp("onefile") / "autoexit.pyz")


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> str:
    """
    An interpreter of each version; skips if this machine has none.
    """
    found = interpreter(f"python{request.param}")
    if found is None:
        pytest.skip(f"no python{request.param} on PATH, nor beside {sys.base_prefix}")
    return found


def interpreter(name: str) -> str | None:
    """
    Return a working one from PATH or from pyenv's folder beside the current interpreter.
    """
    beside = sorted(Path(sys.base_prefix).parent.glob(f"*/bin/{name}"))
    for candidate in filter(None, [shutil.which(name), *map(str, beside)]):
        if 0 == subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode:
            return candidate
    return None


def run(*arguments: object, **settings: str) -> "subprocess.CompletedProcess[str]":
    """
    Run a command outside the checkout, with only these settings.
    """
    return subprocess.run(
        [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": os.environ["PATH"], **settings},
        input="input\n",
        timeout=30,
    )


def test_it_is_small_and_reproducible(file: Path, tmp_path: Path) -> None:
    """
    Under 100 kB; made twice it has the same bytes, so that a job's checksum holds.
    """
    again = onefile.make(tmp_path / "again.pyz")

    assert file.stat().st_size < 100_000
    assert digest(file) == digest(again)


def test_any_python_runs_it(file: Path, python: str) -> None:
    """
    `python3 -I FILE COMMAND` passes on the exit code, the streams and the arguments unchanged.
    """
    done = run(python, "-I", file, "sh", "-c", 'cat; echo "$1" >&2; exit 7', "sh", "--  a b")

    assert (7, "input\n") == (done.returncode, done.stdout)
    assert "--  a b\n" in done.stderr
    assert '"event": "exec.started"' in done.stderr


def test_any_python_exits_with_0_at_the_deadline(file: Path, python: str, tmp_path: Path) -> None:
    """
    It exits with 0 after a second; a second start exits at once without running the command.
    """
    settings = {"TTL": "1s", "STATE_DIR": str(tmp_path / "state")}
    began = time.monotonic()
    first = run(python, "-I", file, "sleep", "60", **settings)
    duration = time.monotonic() - began
    second = run(python, "-I", file, "touch", tmp_path / "ran", **settings)

    assert [0, 0] == [first.returncode, second.returncode]
    assert 0.9 <= duration <= 2.5
    assert "deadline passed before this start" in second.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("deadline", ["2027-01-15T08:00:00.5Z", "2027-01-15t09:00:00.50+01:00"])
def test_any_python_reads_the_same_times(file: Path, python: str, deadline: str) -> None:
    """
    Old Pythons cannot parse Z or fractions of a second; the parser does not depend on Python's.
    """
    code = "import sys; sys.path[:0] = sys.argv[1:2]; from supervisor.core.durations import *;"
    done = run(python, "-I", "-c", f"{code} print(parse_instant(sys.argv[2]))", file, deadline)

    assert ("1800000000.5\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize(
    "arguments, code",
    [
        (("exec", "--", "sh", "-c", "exit 3"), 3),
        (("exec", "sh", "-c", "exit 3"), 3),
        (("--", "sh", "-c", "exit 3"), 3),
        (("--version",), 0),
        (("--help",), 0),
        ((), 64),
        (("exec", "--"), 64),
        (("-x",), 64),
        (("no-such-command",), 127),
    ],
)
def test_its_command_line(file: Path, arguments: tuple[str, ...], code: int) -> None:
    """
    All forms of the command line are equivalent to the image's `exec`.
    """
    done = run(sys.executable, "-I", file, *arguments)

    assert code == done.returncode
    assert "Traceback" not in done.stderr


def test_it_can_be_executed_itself(file: Path) -> None:
    """
    Its first line names `python3` from PATH.
    """
    done = run(file, "sh", "-c", "exit 3")

    assert 3 == done.returncode


def test_a_broken_pythonpath_does_not_reach_it(file: Path, tmp_path: Path) -> None:
    """
    With -I a module of the replica with the name of one of Python's is not imported, and the
    replica's environment is unchanged.
    """
    (tmp_path / "json.py").write_text("raise SystemExit(1)")
    done = run(sys.executable, "-I", file, "sh", "-c", "echo $PYTHONPATH", PYTHONPATH=str(tmp_path))

    assert (0, f"{tmp_path}\n") == (done.returncode, done.stdout)


def test_timeout_exits_with_143_and_the_file_with_0(file: Path) -> None:
    """
    At the deadline `timeout --preserve-status` exits with 143, which Nomad reports as failed; the
    file exits with 0.
    """
    old = run("timeout", "--preserve-status", "1", "sleep", "60")
    new = run(sys.executable, "-I", file, "sleep", "60", TTL="1s")

    assert (143, 0) == (old.returncode, new.returncode)


def test_a_stop_signal_exits_with_0(file: Path, python: str) -> None:
    """
    With every version of Python TERM reaches the command, and the exit code is 0.
    """
    process = subprocess.Popen(
        [
            python,
            "-I",
            str(file),
            "sh",
            "-c",
            "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.05; done",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process:
        assert "ready\n" == process.stdout.readline()
        process.send_signal(signal.SIGTERM)

        assert (0, "got\n") == (process.wait(5), process.stdout.read())


@pytest.mark.slow
def test_every_exit_code_is_passed_on(file: Path) -> None:
    """
    The file exits with each of the command's 256 codes.
    """

    def code(wanted: int) -> int:
        return run(sys.executable, "-I", file, "sh", "-c", f"exit {wanted}").returncode

    with ThreadPoolExecutor(4) as pool:
        assert list(range(256)) == list(pool.map(code, range(256)))


def digest(file: Path) -> str:
    """
    Return the checksum that a job file would contain.
    """
    return hashlib.sha256(file.read_bytes()).hexdigest()
