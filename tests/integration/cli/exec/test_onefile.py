"""
The one file: small, the same whenever it is made, run by any Python from 3.9 on with nothing else.
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
    The file, made anew in a folder of its own, so that nothing of the checkout is beside it.
    """
    return onefile.make(tmp_path_factory.mktemp("onefile") / "autoexit.pyz")


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> str:
    """
    An interpreter of each version; skips where this machine has none.
    """
    found = interpreter(f"python{request.param}")
    if found is None:
        pytest.skip(f"no python{request.param} on PATH, nor beside {sys.base_prefix}")
    return found


def interpreter(name: str) -> str | None:
    """
    Return one that works, from PATH or from beside our own, where pyenv keeps the others.
    """
    beside = sorted(Path(sys.base_prefix).parent.glob(f"*/bin/{name}"))
    for candidate in filter(None, [shutil.which(name), *map(str, beside)]):
        if 0 == subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode:
            return candidate
    return None


def ran(*words: object, **settings: str) -> "subprocess.CompletedProcess[str]":
    """
    Run it somewhere else, with an environment of its own.
    """
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": os.environ["PATH"], **settings},
        input="what it reads\n",
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
    `python3 -I FILE COMMAND`: its code, its streams, its arguments as they are.
    """
    done = ran(python, "-I", file, "sh", "-c", 'cat; echo "$1" >&2; exit 7', "sh", "--  a b")

    assert (7, "what it reads\n") == (done.returncode, done.stdout)
    assert "--  a b\n" in done.stderr
    assert '"event": "exec.started"' in done.stderr


def test_any_python_ends_with_0_at_the_deadline(file: Path, python: str, tmp_path: Path) -> None:
    """
    A second, then 0; started again it is over at once, and the command does not run.
    """
    settings = {"TTL": "1s", "STATE_DIR": str(tmp_path / "state")}
    began = time.monotonic()
    first = ran(python, "-I", file, "sleep", "60", **settings)
    took = time.monotonic() - began
    second = ran(python, "-I", file, "touch", tmp_path / "ran", **settings)

    assert [0, 0] == [first.returncode, second.returncode]
    assert 0.9 <= took <= 2.5
    assert "deadline passed before this start" in second.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("deadline", ["2027-01-15T08:00:00.5Z", "2027-01-15t09:00:00.50+01:00"])
def test_any_python_reads_the_same_times(file: Path, python: str, deadline: str) -> None:
    """
    Old Pythons know neither Z nor half of a second; the grammar does not depend on them.
    """
    code = "import sys; sys.path[:0] = sys.argv[1:2]; from supervisor.core.durations import *;"
    done = ran(python, "-I", "-c", f"{code} print(parse_instant(sys.argv[2]))", file, deadline)

    assert ("1800000000.5\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize(
    "words, code",
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
def test_its_command_line(file: Path, words: tuple[str, ...], code: int) -> None:
    """
    A job that changes from the image's command to the file changes the first word only.
    """
    done = ran(sys.executable, "-I", file, *words)

    assert code == done.returncode
    assert "Traceback" not in done.stderr


def test_it_can_be_executed_itself(file: Path) -> None:
    """
    It names its interpreter, for where a `python3` is on PATH.
    """
    done = ran(file, "sh", "-c", "exit 3")

    assert 3 == done.returncode


def test_a_broken_pythonpath_does_not_reach_it(file: Path, tmp_path: Path) -> None:
    """
    With -I a module beside the replica that is called like one of Python's is not imported, and
    the replica's own environment is as it was.
    """
    (tmp_path / "json.py").write_text("raise SystemExit(1)")
    done = ran(sys.executable, "-I", file, "sh", "-c", "echo $PYTHONPATH", PYTHONPATH=str(tmp_path))

    assert (0, f"{tmp_path}\n") == (done.returncode, done.stdout)


def test_what_it_replaces_ends_with_143(file: Path) -> None:
    """
    Side by side: at the end of the time `timeout --preserve-status` gives 143, which Nomad calls
    failed; the file gives 0.
    """
    old = ran("timeout", "--preserve-status", "1", "sleep", "60")
    ours = ran(sys.executable, "-I", file, "sleep", "60", TTL="1s")

    assert (143, 0) == (old.returncode, ours.returncode)


def test_asked_to_stop_it_ends_with_0(file: Path, python: str) -> None:
    """
    As every version of Python takes the signals: TERM reaches the command, and 0 follows.
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
def test_every_code_passes_through(file: Path) -> None:
    """
    All 256 codes of the command are ours.
    """

    def code(wanted: int) -> int:
        return ran(sys.executable, "-I", file, "sh", "-c", f"exit {wanted}").returncode

    with ThreadPoolExecutor(4) as pool:
        assert list(range(256)) == list(pool.map(code, range(256)))


def digest(file: Path) -> str:
    """
    Return the checksum that a job file would hold.
    """
    return hashlib.sha256(file.read_bytes()).hexdigest()
