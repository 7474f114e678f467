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


def left_behind(what: str, folder: Path) -> list[Path]:
    """
    Return the folders that each death left, in the order of the steps.
    """
    command = [sys.executable, "-m", "tests.support.killed_writes", what, str(folder)]
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
    Killed by `kill -9` between any two calls to the system, or in the middle of a write, while a
    configuration is written, swapped in, kept, or taken back, the live files are those of one
    whole configuration, and a new start from that folder writes its own.
    """
    places = left_behind("configs", tmp_path)
    assert len(places) > 40
    seen = set()
    for place in places:
        live = files(place / "conf")
        whole = {number: dict(bundle.files) for number, bundle in enumerate(bundles(place), 1)}
        found = [number for number, bundle in whole.items() if bundle == live]
        assert found, f"the live files are partial after {place.name}: {sorted(live)}"
        seen.add(found[0])

        anew = configs(place)
        anew.clear()
        anew.stage(1, plan(2), 0)
        anew.swap(1)
        anew.keep(1)
        assert b"conf-1" == bytes((place / "conf").readlink())
        assert {"conf", "conf-1", "temp"} == {path.name for path in place.iterdir()}
    assert {1, 2, 3} == seen, "each was live at some step"
    assert (
        dict(bundles(places[-1])[1].files)["nginx.conf"] == files(places[-1] / "conf")["nginx.conf"]
    )


def test_F06_a_start_from_what_a_kill_left_serves(
    supervise: Callable[..., Supervised], replicas: Callable[..., list[Replica]], tmp_path: Path
) -> None:
    """
    The program starts on a folder that a kill in the middle of a change left behind, and serves.
    """
    places = left_behind("configs", tmp_path)
    one, *_ = replicas("one")
    for step in (0.2, 0.5, 0.8):
        place = places[int(len(places) * step)]
        subject = supervise(RUNTIME_DIR=str(place))
        subject.offer(one)
        eventually(lambda subject=subject: "one" == subject.get().text)
        subject.wait_for_log("reload.applied", mode="serve")
        assert ["conf-1"] == sorted(path.name for path in place.glob("*conf-*"))


def test_F06_killed_at_any_step_the_record_is_old_or_new(tmp_path: Path) -> None:
    """
    Killed at any step of saving the deadline's record, the record read at the next start is the
    old or the new one, without a complaint, and can be saved again.
    """
    places = left_behind("records", tmp_path)
    assert len(places) > 8
    found = []
    for place in places:
        record, trouble = read_record(place)
        assert not trouble
        found.append(record)
        save_record(place, NEW)
        assert (NEW, "") == read_record(place)
    assert OLD == found[0]
    assert NEW == found[-1]
    assert set(found) == {OLD, NEW}
    assert found == sorted(found, key=[OLD, NEW].index), "new stays new"


def test_F06_a_record_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    """
    Where only the beginning of the record can be written, as on a disk that becomes full, the old
    record stays: half of one would be read as none, and the deadline counted anew.
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
