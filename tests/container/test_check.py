"""
`check` in the image, with the options that users run it with.
"""

import json
import os
import shlex
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor import __version__
from tests.support.checkout import CHECKOUT
from tests.support.container import Container
from tests.support.engine import IMAGE, run_engine, why_no_image
from tests.support.waiting import eventually

Contain = Callable[..., Container]

#: What Nomad's docker driver gives a task with `readonly_rootfs`: no temporary folder, only its own
#: folders, which belong to nobody and are writable for all.
NOBODY = 65534


@pytest.fixture
def as_in_a_job(tmp_path: Path) -> tuple[str, ...]:
    """
    The options of a container as Nomad starts it from the files in `jobs/`.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to nobody")
    words = ["--read-only", "--cap-drop", "ALL"]
    for name in ("local", "alloc", "secrets"):
        folder = tmp_path / name
        folder.mkdir()
        folder.chmod(0o777)
        os.chown(folder, NOBODY, NOBODY)
        words += ["--volume", f"{folder}:/{name}"]
    settings = {
        "NOMAD_TASK_DIR": "/local",
        "NOMAD_ALLOC_DIR": "/alloc",
        "NOMAD_SECRETS_DIR": "/secrets",
        "NOMAD_TASK_NAME": "nginx",
    }
    words += [word for item in settings.items() for word in ("--env", "=".join(item))]
    return tuple(words)


def readme_command() -> list[str]:
    """
    Return the words after `docker run` of the README's command, with the image under test.
    """
    text = (CHECKOUT / "README.md").read_text().replace("\\\n", " ")
    (line,) = [each for each in text.splitlines() if each.startswith("docker run") and "-p" in each]
    words = shlex.split(line.partition("  #")[0])[2:]
    assert f"autoexit-nginx:{__version__}" == words[-1]
    port = words.index("-p")
    assert "8080:8080" == words.pop(port + 1)
    words.insert(port + 1, "127.0.0.1::8080")  # port 8080 may be in use
    return [*words[:-1], IMAGE]


def test_a_check_runs_with_the_readmes_docker_command() -> None:
    """
    With the words of the README and `check` behind them it prints what would be served.
    """
    if why_no_image():
        pytest.skip(why_no_image())
    done = run_engine("run", "--rm", *readme_command(), "check")

    assert (0, "") == (done.returncode, done.stderr)
    assert "it would serve 2 endpoints" in done.stdout


def test_the_readmes_container_keeps_its_deadline_when_it_is_started_again() -> None:
    """
    Its root is read-only and the rest is in memory: the volume has the deadline.
    """
    if why_no_image():
        pytest.skip(why_no_image())
    name = f"ax-{uuid.uuid4().hex[:12]}"
    try:
        done = run_engine("run", "--detach", "--name", name, *readme_command())
        assert 0 == done.returncode, done.stderr

        def deadlines() -> list[str]:
            lines = run_engine("logs", name).stdout.splitlines()
            records = [json.loads(line) for line in lines if line.startswith("{")]
            return [each["deadline"] for each in records if each["event"] == "deadline.set"]

        def is_saved() -> bool:
            folder = "/var/lib/autoexit-nginx/8080"
            return run_engine("exec", name, "test", "-s", f"{folder}/state.json").returncode == 0

        eventually(lambda: len(deadlines()) == 1 and is_saved(), 15)
        began = time.time()
        run_engine("stop", name)
        eventually(lambda: time.time() > began + 1.1)  # the deadline is to the second
        run_engine("start", name)
        eventually(lambda: len(deadlines()) == 2, 15)
        assert 1 == len(set(deadlines()))
    finally:
        run_engine("rm", "--force", "--volumes", name)


def test_a_check_runs_in_a_job_alone_and_beside_the_supervisor(
    contain: Contain, as_in_a_job: tuple[str, ...]
) -> None:
    """
    On the read-only root of a job it needs no temporary folder, neither as PID 1 nor by `exec` in
    the running container, whose folders belong to nobody.
    """
    alone = contain("check", options=as_in_a_job)
    assert 0 == alone.code(), alone.lines
    assert any("it would serve 1 endpoint," in line for line in alone.lines)

    running = contain(options=as_in_a_job)
    running.answers()
    done = run_engine("exec", running.name, "autoexit-nginx", "check")
    assert (0, "") == (done.returncode, done.stderr)
    assert "/local/8080/try" in done.stdout


def test_a_check_without_a_writable_place_says_where_one_may_be(contain: Contain) -> None:
    """
    It exits with 78, one line and no traceback.
    """
    container = contain("check", options=("--read-only",))

    assert 78 == container.code()
    (line,) = container.lines
    assert "mount a tmpfs at /run/autoexit-nginx" in line
