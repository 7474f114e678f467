"""
The image under strict hardening options, and the secrets and modes inside it.
"""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.container import Container, status_of
from tests.support.fake_nomad import FakeNomad
from tests.support.image import HARDENED
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Contain = Callable[..., Container]
RunCommand = Callable[..., tuple[int, list[str]]]
Replicas = Callable[..., list[Replica]]

TOKEN = "d1b95f4c-0c8e-4f0d-9d3c-3f1d5f0a6c55"


@pytest.mark.parametrize("user", ["", "4711", "4711:0", "65534:65534", "0"])
def test_S06_it_runs_without_any_privilege(contain: Contain, user: str) -> None:
    """
    With a read-only root, a tmpfs, no capability and no-new-privileges it serves as the image's
    user and as any other.
    """
    as_user = ("--user", user) if user else ()
    container = contain(options=(*HARDENED, *as_user), TTL="5m")

    assert 503 == container.answers().status
    assert "healthy" in container.inside("autoexit-nginx", "healthcheck")
    pid = container.pid
    assert user.partition(":")[0] or "101" == status_of(pid, "Uid").split()[0]
    for field in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert 0 == int(status_of(pid, field), 16)
    assert "1" == status_of(pid, "NoNewPrivs")


def test_S06_by_default_it_is_not_root(contain: Contain) -> None:
    """
    Without options no process is root, and none has an effective capability.
    """
    container = contain()
    container.answers()
    inside = container.inside(
        "sh", "-c", "for f in /proc/[0-9]*/status; do grep -E '^(Uid|CapEff)' $f; done"
    )

    uids = [line.split()[1] for line in inside.splitlines() if line.startswith("Uid")]
    assert len(uids) >= 3
    assert {"101"} == {*uids}
    assert {0} == {
        int(line.split()[1], 16) for line in inside.splitlines() if line.startswith("CapEff")
    }


@pytest.mark.parametrize("place", ["/run/autoexit-nginx", "/tmp", "/elsewhere"])
def test_S06_the_tmpfs_may_have_any_path(contain: Contain, place: str) -> None:
    """
    The tmpfs may be at the default path, at /tmp, or at RUNTIME_DIR, with the engine's mount
    options.
    """
    settings = {"RUNTIME_DIR": place} if place == "/elsewhere" else {}
    container = contain(options=("--read-only", "--tmpfs", place), **settings)

    assert 503 == container.answers().status


def test_S06_without_a_tmpfs_it_fails_loudly(run_command: RunCommand) -> None:
    """
    On a read-only root without a tmpfs it exits at once with 78 and one line with the solution.
    """
    code, lines = run_command(options=("--read-only",))

    assert 78 == code
    (error,) = [line for line in lines if not line.startswith("{")]
    assert error.startswith("cannot write to any RUNTIME_DIR")
    assert "mount a tmpfs at /run/autoexit-nginx" in error
    assert not any("Traceback" in line for line in lines)


def test_S06_a_deadline_that_cannot_be_stored_is_a_warning(contain: Contain) -> None:
    """
    With STATE_DIR on the read-only root it serves, and warns that a restart resets the deadline.
    """
    container = contain(options=HARDENED)
    container.answers()

    (line,) = eventually(lambda: container.log_lines("state.not_saved"), 5)
    assert "warning" == line["level"]


def test_S05_the_token_stays_with_the_supervisor(replicas: Replicas) -> None:
    """
    A token in the environment is sent to Nomad only: it is in no log line, no environment of nginx,
    no error page and no file, core dumps included.
    """
    with FakeNomad(token=TOKEN) as nomad, Supervised(nomad, NOMAD_TOKEN=TOKEN) as subject:
        subject.offer(*replicas("one"))
        subject.ready(status=200)
        subject.offer()
        page = subject.ready(status=503)
        nginx = [p.pid for p in subject.processes() if p.title.startswith("nginx:")]
        assert len(nginx) >= 2
        for pid in nginx:
            assert TOKEN.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        assert TOKEN not in page.text
        assert TOKEN not in subject.recent_output
        for path in subject.home.rglob("*"):
            if path.is_file() and not path.is_symlink():
                assert TOKEN.encode() not in path.read_bytes(), path


def test_S10_files_are_private(replicas: Replicas, nomad: FakeNomad) -> None:
    """
    Configuration files have mode 0640 or less, state files and the control socket 0600, folders
    0700.
    """
    with Supervised(nomad) as subject:
        subject.offer(*replicas("one"))
        subject.ready(status=200)
        subject.wait_for_log("reload.applied", mode="serve")
        run = subject.home / "run"
        found = {path: path.lstat() for path in (run, *run.rglob("*"))}
        kept = {path: path.lstat() for path in (subject.home / "state").iterdir()}
        assert "supervisor.sock" in {path.name for path in found}

    for path, seen in found.items():
        mode = stat.S_IMODE(seen.st_mode)
        if stat.S_ISLNK(seen.st_mode):
            continue
        if path.suffix == ".conf":
            assert not mode & ~0o640, path
        elif path.name in {"supervisor.sock", "endpoints.json", "lock"}:
            assert 0o600 == mode, path
        elif stat.S_ISDIR(seen.st_mode):
            assert not mode & 0o077, path
    assert {"state.json"} <= {path.name for path in kept}
    for path, seen in kept.items():
        assert 0o600 == stat.S_IMODE(seen.st_mode), path
