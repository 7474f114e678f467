"""
The image as the program under test: the same tests, once more in a container.

It is run as the README advises: not as root, a read-only root, no capability, no way to new
privileges.  The network is the host's, so that it finds the Nomad and the replicas of a test, and
the test's home folder is mounted under the same path.
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

# What belongs to the tests' own Python, and what the image sets for itself.
_NOT_ITS = ("PATH", "LANG", "COVERAGE")


class InImage(Ours):
    """
    The supervisor of the image; `options` are for the engine's run.
    """

    def __init__(self, nomad: FakeNomad, options: tuple[str, ...] = ()) -> None:
        super().__init__(nomad, command=())
        self._options = options
        self._held: list[int] = []

    def launch(self, home: Path, settings: Mapping[str, str]) -> Launch:
        """
        Give it its folders, under the same paths as here, and say how to find its PID 1.
        """
        launch = super().launch(home, settings)
        folders = {home, Path(launch.environ["STATE_DIR"])}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            _give(folder)
        name = f"ax-{uuid.uuid4().hex[:12]}"
        told = {n: v for n, v in launch.environ.items() if not n.startswith(_NOT_ITS)}
        told.pop("NGINX_BINARY", None)  # the tests' own nginx is none of the image's
        words = (
            *(engine(), "run", "--rm", "--name", name, "--network", "host", *HARDENED),
            *(word for folder in folders for word in ("--volume", f"{folder}:{folder}")),
            *(word for name, value in told.items() for word in ("--env", f"{name}={value}")),
            *(option.format(**told) for option in self._options),
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
        Make a pipe by name that is full from the start and that nobody reads.

        Docker reads what a container says whether anybody wants it or not.
        """
        path = home / "stdout"
        if not path.exists():
            os.mkfifo(path)
            os.chown(path, USER, USER)
            self._held.append(os.open(path, os.O_RDWR))  # never closed: it is to outlive the test
            fill(self._held[-1])
            fcntl.fcntl(self._held[-1], fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        return path


def why_no_start() -> str:
    """
    Return why the image cannot be the subject here, or nothing where it can.
    """
    if os.geteuid() != 0:
        return "only root can give the test's folders to the image's user"
    return why_no_image()


def subject_for(
    nomad: FakeNomad, command: tuple[str, ...] = RUN, options: tuple[str, ...] = ()
) -> Subject:
    """
    Return the chosen subject, told about this Nomad where it cares.

    `command` starts the supervisor in its own way; in the image `options` have to do the same.
    """
    match chosen():
        case "old":
            return Old()
        case "image":
            return InImage(nomad, options)
        case _:
            return Ours(nomad, command=command)


def _give(folder: Path) -> None:
    """
    Make a folder and all in it the container's user's own.
    """
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            shutil.chown(path, USER, USER)
