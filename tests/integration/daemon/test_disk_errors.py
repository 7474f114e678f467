import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fake_nomad import FakeNomad
from tests.support.hanging_disk import HangingDisk, why_no_hanging_disk
from tests.support.image import subject_for
from tests.support.live_files import live_files
from tests.support.namespaces import why_no_unshare
from tests.support.replica import Replica
from tests.support.subjects import RUN
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

# As PID 1 the program has its own mount namespace, so this mount is invisible outside.
ON_A_TINY_DISK = (
    "sh",
    "-ec",
    'mkdir -p "$RUNTIME_DIR"; mount -t tmpfs -o size=96k,mode=711 tiny "$RUNTIME_DIR"; exec "$@"',
    "sh",
    *RUN,
)

# The same, mounted by the container engine.
WITH_A_TINY_DISK = ("--tmpfs", "{RUNTIME_DIR}:size=96k,mode=1777")

# Root may write anywhere unless these capabilities are dropped.
WITHOUT_OVERRIDE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--", *RUN)


def why_no_mount() -> str:
    """
    Return why no disk can be mounted here, or an empty string.
    """
    if why_no_unshare():
        return why_no_unshare()
    done = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tiny", "/mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"cannot mount: {done.stderr.strip()}" if done.returncode else ""


def _why_no_hanging_disk() -> str:
    with tempfile.TemporaryDirectory() as folder:
        return why_no_hanging_disk(Path(folder))


WHY_NOT_HANGING = _why_no_hanging_disk()


def started(
    supervise: Supervise,
    nomad: FakeNomad,
    one: Replica,
    command: tuple[str, ...],
    options: tuple[str, ...] = (),
) -> tuple[Supervised, Callable[[], dict[str, bytes]]]:
    """
    Return the program, serving one replica, and a reader of its live files in its namespace.
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


def assert_change_fails(
    subject: Supervised, read: Callable[[], dict[str, bytes]], two: Replica, reason: str
) -> None:
    """
    Offer another replica, and assert that the reload is retried and changes nothing.
    """
    before = read()
    subject.offer(two)
    eventually(
        lambda: len(subject.log_lines("reload.failed")) >= 2 or not subject.running,
        what="a second attempt",
    )
    assert subject.running
    for line in subject.log_lines("reload.failed"):
        assert reason in line["reason"]
        assert 1 == line["endpoints_kept"]
    assert before == read()
    assert "one" == subject.get().text


@pytest.mark.skipif(bool(why_no_mount()), reason=why_no_mount())
def test_F05_a_full_disk(supervise: Supervise, nomad: FakeNomad, replicas: Replicas) -> None:
    """
    On a full disk the last good files stay complete and are served; the change is retried and
    applied once there is space.
    """
    one, two = replicas("one", "two")
    subject, read = started(supervise, nomad, one, ON_A_TINY_DISK, WITH_A_TINY_DISK)
    full = f"{subject.home}/run/full"
    subject.run_inside(f"dd if=/dev/zero of={full} bs=1k")
    assert_change_fails(subject, read, two, "No space left on device")

    subject.run_inside(f"rm {full}")
    eventually(lambda: "two" == subject.get().text)


@pytest.mark.skipif(bool(why_no_mount()), reason=why_no_mount())
def test_F05_a_disk_that_became_read_only(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    On a disk that the kernel made read-only the last good files stay and are served; the change is
    applied once the disk is writable.
    """
    one, two = replicas("one", "two")
    subject, read = started(supervise, nomad, one, RUN)
    run = subject.home / "run"  # a bind mount, because a disk in use cannot be made read-only
    make_read_only = f"mkdir -p {run}; mount --bind {run} {run} && mount -o remount,bind,ro {run}"
    assert "" == subject.run_inside(make_read_only)
    assert_change_fails(subject, read, two, "Read-only file system")

    subject.run_inside(f"umount {run}")
    eventually(lambda: "two" == subject.get().text)


def test_F05_a_folder_without_write_permission(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    In a folder that has become unwritable the last good files stay and are served; the change is
    applied once the folder is writable.
    """
    one, two = replicas("one", "two")
    subject, read = started(supervise, nomad, one, WITHOUT_OVERRIDE if is_root() else RUN)
    folder = subject.home / "run"
    mode = folder.stat().st_mode
    folder.chmod(0o511)
    try:
        assert_change_fails(subject, read, two, "Permission denied")
    finally:
        folder.chmod(mode)
    eventually(lambda: "two" == subject.get().text)


def is_root() -> bool:
    """
    Return whether this process ignores file modes.
    """
    return os.geteuid() == 0


@pytest.mark.skipif(bool(WHY_NOT_HANGING), reason=WHY_NOT_HANGING)
def test_a_disk_that_hangs_then_fails(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas
) -> None:
    """
    The disk of RUNTIME_DIR hangs, then every access to it fails.  Nginx keeps serving, the
    supervisor reports it and does not end, and the change is applied once the disk works.
    """
    one, two = replicas("one", "two")
    subject = supervise(pid1=False, START_TIMEOUT="1s", VERIFY_TIMEOUT="1s")
    subject.offer(one)
    subject.ready(status=200)
    subject.wait_for_log("reload.applied", mode="serve")
    with HangingDisk(subject.home / "run") as disk:
        subject.offer(two)
        subject.wait_for_log("disk.overdue")
        disk.fail()
        subject.wait_for_log("reload.failed")
        checked = subject.wait_for_log("runtime.not_restored")

        assert "Transport endpoint is not connected" in checked["reason"]
        assert "one" == subject.get().text
    eventually(lambda: "two" == subject.get().text)
    assert [] == subject.log_lines("internal_error") + subject.log_lines("nginx.died")
    assert 0 == stop(subject)


def test_F05_a_removed_folder(supervise: Supervise, nomad: FakeNomad, replicas: Replicas) -> None:
    """
    If the whole folder is removed, nginx keeps serving from memory; the supervisor creates the
    folder and its contents again, and serves the latest change without restarting itself or nginx.
    """
    one, two = replicas("one", "two")
    subject, _ = started(supervise, nomad, one, RUN)
    # Retried, because the endpoint cache is written there after each reload.
    eventually(lambda: shutil.rmtree(subject.home / "run") is None)
    assert "one" == subject.get().text

    subject.offer(two)
    eventually(lambda: "two" == subject.get().text, 10)
    eventually(lambda: subject.log_lines("reload.applied")[-1]["endpoints"] == 1, 1)
    assert live_files(subject)
    assert [] == subject.log_lines("nginx.died") + subject.log_lines("nginx.unresponsive")
    assert 0 == stop(subject)


def stop(subject: Supervised) -> int:
    """
    Stop the program and return its exit code.
    """
    subject.signal(signal.SIGTERM)
    return subject.wait()
