import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.system.state_file import read_record, save_record
from tests.support.checkout import CHECKOUT
from tests.support.killed_writes import NEW, OLD, bundles, configs, plan
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually


def interrupted_folders(kind: str, folder: Path) -> list[Path]:
    """
    Return the folders that a kill at each step left, in the order of the steps.
    """
    command = [sys.executable, "-m", "tests.support.killed_writes", kind, str(folder)]
    subprocess.run(command, cwd=CHECKOUT, check=True, timeout=60)
    return sorted(folder.iterdir())


def files(folder: Path) -> dict[str, bytes]:
    """
    Return every file below a folder.
    """
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_F06_killed_at_any_step_the_live_files_are_old_or_new(tmp_path: Path) -> None:
    """
    After SIGKILL between any two system calls or in the middle of a write, while a configuration is
    written, swapped in, marked as good or restored, the live files are one complete configuration,
    and a new start from that folder writes its own.
    """
    folders = interrupted_folders("configs", tmp_path)
    assert len(folders) > 40
    seen = set()
    for folder in folders:
        live = files(folder / "conf")
        whole = {number: dict(bundle.files) for number, bundle in enumerate(bundles(folder), 1)}
        found = [number for number, bundle in whole.items() if bundle == live]
        assert found, f"the live files are partial after {folder.name}: {sorted(live)}"
        seen.add(found[0])

        store = configs(folder)
        store.clear()
        store.stage(1, plan(2), 0)
        store.swap(1)
        store.keep(1)
        assert b"conf-1" == bytes((folder / "conf").readlink())
        assert {"conf", "conf-1", "temp"} == {path.name for path in folder.iterdir()}
    assert {1, 2, 3} == seen, "each was live at some step"
    last = folders[-1]
    assert dict(bundles(last)[1].files)["nginx.conf"] == files(last / "conf")["nginx.conf"]


def test_F06_a_start_from_an_interrupted_folder_serves(
    supervise: Callable[..., Supervised], replicas: Callable[..., list[Replica]], tmp_path: Path
) -> None:
    """
    The program starts on a folder in which a change was interrupted by a kill, and serves.
    """
    folders = interrupted_folders("configs", tmp_path)
    one, *_ = replicas("one")
    for step in (0.2, 0.5, 0.8):
        folder = folders[int(len(folders) * step)]
        subject = supervise(RUNTIME_DIR=str(folder), START_WAIT="5s")
        subject.offer(one)
        eventually(lambda subject=subject: "one" == subject.get().text)
        subject.wait_for_log("reload.applied", mode="serve")
        assert ["conf-1"] == sorted(path.name for path in folder.glob("*conf-*"))


def test_F06_killed_at_any_step_the_record_is_old_or_new(tmp_path: Path) -> None:
    """
    After a kill at any step of saving the deadline's record, the next start reads the old or the
    new record without an error, and can save it again.
    """
    folders = interrupted_folders("records", tmp_path)
    assert len(folders) > 8
    found = []
    for folder in folders:
        record, error = read_record(folder)
        assert not error
        found.append(record)
        save_record(folder, NEW)
        assert (NEW, "") == read_record(folder)
    assert OLD == found[0]
    assert NEW == found[-1]
    assert set(found) == {OLD, NEW}
    assert found == sorted(found, key=[OLD, NEW].index), "no old record after a new one"


def test_F06_a_record_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    """
    If only the beginning of the record can be written, as on a full disk, the old record stays: a
    partial one would be discarded at the next start, which would reset the deadline.
    """
    save_record(tmp_path, OLD)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_record(tmp_path, NEW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (OLD, "") == read_record(tmp_path)
