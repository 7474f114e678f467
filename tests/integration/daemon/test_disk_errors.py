import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fake_nomad import FakeNomad
from tests.support.image import subject_for
from tests.support.live_files import live_files
from tests.support.namespaces import why_no_unshare
from tests.support.replica import Replica
from tests.support.subjects import RUN
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

# Its own mounts are seen by nobody else: as PID 1 it has a mount namespace of its own.
ON_A_TINY_DISK = (
    "sh",
    "-ec",
    'mkdir -p "$RUNTIME_DIR"; mount -t tmpfs -o size=96k,mode=711 tiny "$RUNTIME_DIR"; exec "$@"',
    "sh",
    *RUN,
)

# The same where the engine mounts it.
WITH_A_TINY_DISK = ("--tmpfs", "{RUNTIME_DIR}:size=96k,mode=1777")

# Root may write anywhere, unless this is taken from it.
AS_ONE_WHO_MUST_ASK = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--", *RUN)


def why_no_mount() -> str:
    """
    Return why a disk cannot be mounted here, or nothing where it can.
    """
    if why_no_unshare():
        return why_no_unshare()
    tried = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tiny", "/mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"cannot mount: {tried.stderr.strip()}" if tried.returncode else ""


def started(
    supervise: Supervise,
    nomad: FakeNomad,
    one: Replica,
    command: tuple[str, ...],
    options: tuple[str, ...] = (),
) -> tuple[Supervised, Callable[[], dict[str, bytes]]]:
    """
    Return the program, serving one replica, and how to read its live files as it sees them.
    """
    subject = supervise(subject=subject_for(nomad, command, options))
    subject.offer(one)
    subject.ready(status=200)
    if subject.subject.name == "ours":
        subject.wait_for_log("reload.applied", mode="serve")

    def read() -> dict[str, bytes]:
        folder = Path(f"/proc/{subject.pid}/root{subject.home}/run/conf")
        if not folder.is_symlink():
            return live_files(subject)
        return {name: (folder / name).read_bytes() for name in ("nginx.conf", "upstream.conf")}

    return subject, read


def suffers(
    subject: Supervised, read: Callable[[], dict[str, bytes]], two: Replica, complaint: str
) -> None:
    """
    Offer another replica, and see that it is tried more than once and changes nothing meanwhile.
    """
    before = read()
    subject.offer(two)
    eventually(
        lambda: len(subject.log_lines("reload.failed")) >= 2 or not subject.running,
        what="a second try",
    )
    assert subject.running
    for line in subject.log_lines("reload.failed"):
        assert complaint in line["reason"]
        assert 1 == line["endpoints_kept"]
    assert before == read()
    assert "one" == subject.get().text


@pytest.mark.skipif(bool(why_no_mount()), reason=why_no_mount())
def test_F05_a_full_disk(supervise: Supervise, nomad: FakeNomad, replicas: Replicas) -> None:
    """
    On a full disk the last good files stay whole and are served; the change is tried again and
    taken up by itself once there is room.
    """
    one, two = replicas("one", "two")
    subject, read = started(supervise, nomad, one, ON_A_TINY_DISK, WITH_A_TINY_DISK)
    full = f"{subject.home}/run/full"
    subject.run_inside(f"dd if=/dev/zero of={full} bs=1k")
    suffers(subject, read, two, "No space left on device")

    subject.run_inside(f"rm {full}")
    eventually(lambda: "two" == subject.get().text)


@pytest.mark.skipif(bool(why_no_mount()), reason=why_no_mount())
def test_F05_a_disk_that_became_read_only(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    On a disk that the kernel made read-only the last good files stay and are served; the change is
    taken up by itself once the disk can be written to.
    """
    one, two = replicas("one", "two")
    subject, read = started(supervise, nomad, one, RUN)
    run = subject.home / "run"  # mounted upon itself: a disk in use cannot be made read-only
    seal = f"mkdir -p {run}; mount --bind {run} {run} && mount -o remount,bind,ro {run}"
    assert "" == subject.run_inside(seal)
    suffers(subject, read, two, "Read-only file system")

    subject.run_inside(f"umount {run}")
    eventually(lambda: "two" == subject.get().text)


def test_F05_a_folder_that_may_not_be_written_to(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    In a folder that may not be written to any more the last good files stay and are served; the
    change is taken up by itself once it may.
    """
    one, two = replicas("one", "two")
    subject, read = started(supervise, nomad, one, AS_ONE_WHO_MUST_ASK if is_root() else RUN)
    folder = subject.home / "run"
    mode = folder.stat().st_mode
    folder.chmod(0o511)
    try:
        suffers(subject, read, two, "Permission denied")
    finally:
        folder.chmod(mode)
    eventually(lambda: "two" == subject.get().text)


def is_root() -> bool:
    """
    Tell whether modes mean nothing to us.
    """
    return os.geteuid() == 0


def test_F05_a_folder_that_is_gone(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    When somebody removes the whole folder, what nginx has in memory serves on; the folder is made
    anew with all that was in it, and the latest change is served without a restart of ours.
    """
    one, two = replicas("one", "two")
    subject, _ = started(supervise, nomad, one, RUN)
    # Until nobody is writing there: the memory for a restart is written after each reload.
    eventually(lambda: shutil.rmtree(subject.home / "run") is None)
    assert "one" == subject.get().text

    subject.offer(two)
    eventually(lambda: "two" == subject.get().text, 10)
    eventually(lambda: subject.log_lines("reload.applied")[-1]["endpoints"] == 1, 1)
    subject.wait_for_log("nginx.died", 20)  # its socket is gone with the folder: it must start anew
    eventually(lambda: "two" == subject.get().text and live_files(subject), 10)
    assert 0 == stopped(subject)


def stopped(subject: Supervised) -> int:
    """
    Ask it to end, and return its code.
    """
    subject.signal(signal.SIGTERM)
    return subject.wait()
