"""
The `check` command: what a start would do, next to a supervisor or alone.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.fake_nomad import FakeNomad
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import free_port

Replicas = Callable[..., list[Replica]]
Supervise = Callable[..., Supervised]


def checked(folder: Path, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """
    Run `check` with a RUNTIME_DIR, a STATE_DIR and no files of an operator.
    """
    environ = {
        "PATH": "/usr/sbin:/usr/bin:/bin",
        "RUNTIME_DIR": str(folder / "run"),
        "STATE_DIR": str(folder / "state"),
        "OPERATOR_DIR": str(folder / "operator"),
        "LISTEN_PORT": str(free_port()),
        "TTL": "1h",
        **settings,
    }
    return subprocess.run(
        [sys.executable, "-m", "supervisor", "check", *words],
        cwd=CHECKOUT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def files(folder: Path) -> set[str]:
    """
    Return the names of the files of a supervisor, without those that it is writing.
    """
    names = {path.name for path in folder.iterdir()}
    return {name for name in names - {"endpoints.json", "over"} if not name.startswith(".")}


def test_a_check_works_in_the_folder_of_a_start_and_leaves_nothing(tmp_path: Path) -> None:
    """
    It needs no temporary folder: one that does not exist is not used, and what it creates is gone
    afterwards.
    """
    done = checked(tmp_path, ENDPOINTS="10.0.0.1:1", TMPDIR=str(tmp_path / "missing"))

    assert (0, "") == (done.returncode, done.stderr)
    assert f"{tmp_path}/run/try" in done.stdout
    assert [] == list(tmp_path.iterdir())


def test_a_check_without_a_usable_folder_names_it(tmp_path: Path) -> None:
    """
    As a start it exits with 78 and names each candidate.
    """
    (tmp_path / "run").write_text("")
    done = checked(tmp_path, ENDPOINTS="10.0.0.1:1")

    assert 78 == done.returncode
    assert done.stderr.startswith(f"cannot write to any RUNTIME_DIR ({tmp_path}/run: ")


def test_the_longest_folder_of_a_start_is_long_enough_for_a_check(tmp_path: Path) -> None:
    """
    The paths of its sockets are short enough wherever those of a start are.
    """
    longest = Path("/tmp") / ("x" * (85 - len("/tmp/")))
    done = checked(tmp_path, ENDPOINTS="10.0.0.1:1", RUNTIME_DIR=str(longest))

    assert (0, "") == (done.returncode, done.stderr)
    assert not longest.exists()


def test_a_check_beside_a_supervisor_changes_nothing(
    supervise: Supervise, replicas: Replicas
) -> None:
    """
    In the folder of a running supervisor it prints what that one serves, and changes no file.
    """
    subject = supervise(pid1=False)
    subject.offer(*replicas("one"))
    subject.ready(status=200)
    before = files(subject.home / "run")
    done = checked(
        subject.home,
        SERVICE_NAME="web",
        NOMAD_ADDR=subject.nomad.address,
        LISTEN_PORT=str(subject.port),
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert "it would serve 1 endpoint, not probed here" in done.stdout
    assert before == files(subject.home / "run")
    assert 200 == subject.get().status


def test_an_answer_is_printed_without_a_page(tmp_path: Path) -> None:
    """
    Endpoints are counted and printed as nginx gets them; without any, the state that clients would
    see is printed, and no HTML.
    """
    with FakeNomad() as nomad:
        settings = {"SERVICE_NAME": "web", "NOMAD_ADDR": nomad.address}
        none = checked(tmp_path, **settings)
        nomad.set("web", [("127.0.0.1", 9001), ("127.0.0.1", 9002)])
        two = checked(tmp_path, **settings)

    assert (0, 0) == (none.returncode, two.returncode), none.stderr + two.stderr
    assert "nomad:web: 0 endpoints" in none.stdout
    assert "it would serve no endpoint: clients would get 503 no_endpoints" in none.stdout
    assert "<" not in none.stdout
    assert "nomad:web: 2 endpoints" in two.stdout
    assert "server 127.0.0.1:9001" in two.stdout


@pytest.mark.parametrize("words", [(), ("--offline",)])
def test_a_check_without_an_answer_of_discovery_fails_unless_offline(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """
    With Nomad away it exits with 1 and the reason; with `--offline` it tests the files only.
    """
    address = f"http://127.0.0.1:{free_port()}"
    done = checked(tmp_path, *words, SERVICE_NAME="web,api", NOMAD_ADDR=address)

    assert "accepts the configuration" in done.stdout
    if words:
        assert (0, "") == (done.returncode, done.stderr)
        assert "would serve no" not in done.stdout
    else:
        assert 1 == done.returncode
        assert [
            f"warning: nomad:{name}: connection to Nomad at {address} refused: nothing listens"
            " there (NOMAD_ADDR); set NOMAD_ADDR to the agent's address (in a container 127.0.0.1"
            " is the container itself), or add an `identity` block to the task"
            for name in ("api", "web")
        ] == sorted(done.stderr.splitlines())[1:]
        assert "`check --offline` tests the files only" in done.stderr


def test_a_check_prints_the_deadline_of_a_start(tmp_path: Path) -> None:
    """
    It counts from the first start, and a start after it would serve nothing.
    """
    fresh = checked(tmp_path, ENDPOINTS="10.0.0.1:1", TTL="never")
    assert "it would serve without a deadline (TTL=never)" in fresh.stdout

    over = checked(tmp_path, ENDPOINTS="10.0.0.1:1", DEADLINE=str(int(time.time()) - 60))
    assert "it would exit at once: the deadline " in over.stdout
