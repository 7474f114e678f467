"""
Another local user beside the program's, who may have made the folders that it would use.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.fake_nomad import FakeNomad
from tests.support.replica import Replica
from tests.support.subjects import RUN, Ours
from tests.support.supervised import Supervised

Replicas = Callable[..., list[Replica]]
Supervise = Callable[..., Supervised]

#: Two users that exist nowhere: numbers are enough for the kernel.
ONE, OTHER = 54321, 54322


def become(uid: int) -> tuple[str, ...]:
    """
    Return the command that runs the following words as this user.
    """
    return ("setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--")


def why_no_users() -> str:
    """
    Return why no program of another user can be run here, or an empty string.
    """
    if os.geteuid() != 0:
        return "only root can start programs of two users"
    words = [*become(ONE), sys.executable, "-c", "import supervisor.daemon.start"]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return f"no Python for other users: {done.stderr[-200:]}" if done.returncode else ""


pytestmark = pytest.mark.skipif(bool(why_no_users()), reason=why_no_users())


def act_as(uid: int, act: Callable[[], object]) -> None:
    """
    Do something as another user, in a child.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            act()
            code = 0
        finally:
            os._exit(code)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def make_open(folder: Path) -> Path:
    """
    Make a folder in which everybody may write, and rename what others made.
    """
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def shared() -> Iterator[Path]:
    """
    A folder as /tmp is: everybody may write in it, and only the owner rename.
    """
    with tempfile.TemporaryDirectory(prefix="ax-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o1777)
        yield folder


@pytest.fixture
def start(supervise: Supervise, nomad: FakeNomad, shared: Path) -> Callable[..., Supervised]:
    """
    Start the program as a user, with the shared folder as its temp folder.
    """

    def as_user(uid: int, **settings: str | None) -> Supervised:
        defaults: dict[str, str | None] = {
            "RUNTIME_DIR": None,
            "STATE_DIR": str(shared / f"state-{uid}"),
            "TMPDIR": str(shared),
        }
        return supervise(
            pid1=False,
            subject=Ours(nomad, command=(*become(uid), *RUN)),
            **{**defaults, **settings},
        )

    return as_user


def assert_refused(subject: Supervised, reason: str) -> None:
    """
    Assert that the program ends at once with one line that has this reason.
    """
    assert 78 == subject.wait()
    (line,) = subject.errors
    assert line.startswith("cannot write to any RUNTIME_DIR")
    assert reason in line


@pytest.mark.parametrize("name", ["autoexit-nginx", f"autoexit-nginx-{ONE}"])
def test_a_folder_below_another_user_s_is_not_used(
    start: Callable[..., Supervised], shared: Path, replicas: Replicas, name: str
) -> None:
    """
    Who owns the folder above ours could replace ours by one with an own configuration, which the
    next reload would run as us: such a folder is not used, whoever made it first.
    """
    theirs = shared / name
    act_as(OTHER, lambda: make_open(theirs))
    subject = start(ONE)
    if name.endswith(str(ONE)):
        assert_refused(subject, f"{theirs} is owned by another user")
    else:
        subject.offer(*replicas("one"))
        subject.ready(status=200)
        folder = Path(subject.wait_for_log("nginx.found")["runtime"])
        assert {0, ONE} >= {path.stat().st_uid for path in (folder, *folder.parents)}
    assert [] == list(theirs.iterdir())


def test_two_users_have_folders_of_their_own(
    start: Callable[..., Supervised], replicas: Replicas
) -> None:
    """
    The folder of the first user does not keep the second from serving.
    """
    (one,) = replicas("one")
    for uid in (ONE, OTHER):
        subject = start(uid)
        subject.offer(one)
        subject.ready(status=200)
        subject.signal(signal.SIGTERM)
        assert 0 == subject.wait()


@pytest.mark.parametrize("uid", [0, ONE], ids=["root", "user"])
def test_a_parent_that_others_may_change_is_refused(
    start: Callable[..., Supervised], shared: Path, uid: int
) -> None:
    """
    Without the sticky bit everybody could rename our folder and put another one in its place.
    """
    subject = start(uid, RUNTIME_DIR=str(make_open(shared / "open") / "run"))

    assert_refused(subject, f"other users may write to {shared / 'open'}")
    assert [] == list((shared / "open").iterdir())


def test_a_link_of_another_user_is_not_followed(
    start: Callable[..., Supervised], shared: Path
) -> None:
    """
    A link in a shared folder can be changed by its owner at any time.
    """
    (shared / "safe").mkdir()
    act_as(OTHER, lambda: (shared / "link").symlink_to(shared / "safe"))
    subject = start(0, RUNTIME_DIR=str(shared / "link" / "run"))

    assert_refused(subject, f"{shared / 'link'} is owned by another user")
    assert [] == list((shared / "safe").iterdir())


def test_root_does_not_use_a_folder_of_another_user(
    start: Callable[..., Supervised], shared: Path
) -> None:
    """
    As root, a RUNTIME_DIR that somebody else owns is refused, also when it was asked for.
    """
    act_as(OTHER, lambda: (shared / "run").mkdir(mode=0o700))
    subject = start(0, RUNTIME_DIR=str(shared / "run"))

    assert_refused(subject, "owned by another user")
    assert [] == list((shared / "run").iterdir())
