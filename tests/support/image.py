"""
The image as the program under test: the same tests in a container.

It is run as the README advises: not as root, with a read-only root, no capability and
no-new-privileges.  The network is the host's, so that the Nomad and the replicas of a test are
reachable, and the test's home folder is mounted under the same path.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tests.support.engine import IMAGE, engine, pid_of, why_no_image
from tests.support.fake_nomad import FakeNomad
from tests.support.launched import fill
from tests.support.subjects import RUN, Launch, Old, Ours, Subject, chosen

USER = 101
HARDENED = (
    *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges"),
)

# Variables for the tests' own Python, and variables that the image sets itself.
_NOT_PASSED = ("PATH", "LANG", "COVERAGE")


class InImage(Ours):
    """
    The supervisor of the image; `options` are arguments of the engine's run command.
    """

    def __init__(self, nomad: FakeNomad, options: tuple[str, ...] = ()) -> None:
        super().__init__(nomad, command=())
        self._options = options
        self._kept_open: list[int] = []

    def launch(self, home: Path, settings: Mapping[str, str]) -> Launch:
        """
        Prepare its folders, mounted under the same paths, and the lookup of its PID 1.
        """
        launch = super().launch(home, settings)
        folders = {home, Path(launch.environ["STATE_DIR"])}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            _chown(folder)
        name = f"ax-{uuid.uuid4().hex[:12]}"
        environ = {n: v for n, v in launch.environ.items() if not n.startswith(_NOT_PASSED)}
        environ.pop("NGINX_BINARY", None)  # the tests' nginx is not in the image
        words = (
            *(engine(), "run", "--rm", "--name", name, "--network", "host", *HARDENED),
            *(word for folder in folders for word in ("--volume", f"{folder}:{folder}")),
            *(word for name, value in environ.items() for word in ("--env", f"{name}={value}")),
            *(option.format(**environ) for option in self._options),
        )
        return replace(
            launch,
            words=(*words, IMAGE),
            environ=dict(os.environ),
            find_pid=lambda: pid_of(name),
            unread_words=(
                *(*words, "--entrypoint", "sh", IMAGE),
                *("-c", f"exec autoexit-nginx >{self._full_pipe(home)} 2>&1"),
            ),
        )

    def _full_pipe(self, home: Path) -> Path:
        """
        Create a named pipe that is full from the start and never read.

        Docker always reads a container's own stdout.
        """
        path = home / "stdout"
        if not path.exists():
            os.mkfifo(path)
            os.chown(path, USER, USER)
            self._kept_open.append(os.open(path, os.O_RDWR))  # never closed: needed beyond the test
            fill(self._kept_open[-1])
            fcntl.fcntl(self._kept_open[-1], fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        return path


def why_no_start() -> str:
    """
    Return why the image cannot be the subject on this machine, or an empty string.
    """
    if os.geteuid() != 0:
        return "only root can chown the test's folders to the image's user"
    return why_no_image()


def subject_for(
    nomad: FakeNomad, command: tuple[str, ...] = RUN, options: tuple[str, ...] = ()
) -> Subject:
    """
    Return the chosen subject, with this Nomad if it uses one.

    `command` replaces the supervisor's command; in the image `options` have to do the same.
    """
    match chosen():
        case "old":
            return Old()
        case "image":
            return InImage(nomad, options)
        case _:
            return Ours(nomad, command=command)


def _chown(folder: Path) -> None:
    """
    Change the owner of a folder and its content to the container's user.
    """
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            shutil.chown(path, USER, USER)
