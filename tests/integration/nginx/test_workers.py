import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.nginx.host_limits import fitting_workers, worker_count
from tests.support.checkout import CHECKOUT
from tests.support.fake_nomad import FakeNomad
from tests.support.image import subject_for
from tests.support.subjects import RUN, Ours
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]

CPU = Path("/sys/fs/cgroup/cpu")
PROCESSORS = len(os.sched_getaffinity(0))

# Docker shows a container its own control group instead of the host's.
IN_A_GROUP = 'echo $$ > {group}/cgroup.procs; mount --bind {group} /sys/fs/cgroup/cpu; exec "$@"'


def worker_count_in_child(processors: int, cgroup: Path) -> int:
    """
    Return the worker count of a process that may use this number of processors.
    """
    code = (
        "import os, sys; from pathlib import Path;"
        "from supervisor.nginx.host_limits import worker_count;"
        f"os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{processors}]);"
        "print(worker_count(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, str(cgroup)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True, timeout=20)
    return int(done.stdout)


@pytest.mark.parametrize(
    "files,processors",
    [
        ({}, 99),
        ({"cpu.max": "max 100000\n"}, 99),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "800000 100000\n"}, 8),
        ({"cpu.max": "3200000 100000\n"}, 8),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "garbage\n"}, 99),
        ({"cpu.max": "1 0\n"}, 99),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 99),
        ({"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "250000\n"}, 99),
    ],
)
def test_F11_the_quota_limits_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], processors: int
) -> None:
    """
    The number of workers is the quota in processors, rounded up, between 1 and 8, for both versions
    of control groups; an unset or unreadable quota is ignored.
    """
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert min(processors, PROCESSORS, 8) == worker_count(tmp_path)

    for usable in (1, 2, 3, 64):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, usable=usable: set(range(usable)))
        assert min(processors, usable, 8) == worker_count(tmp_path)


@pytest.mark.parametrize(
    "room, workers", [(math.inf, 4), (30, 4), (18, 4), (17, 3), (14, 2), (12, 1), (5, 1), (0, 1)]
)
def test_the_workers_fit_twice_into_the_room(room: float, workers: int) -> None:
    """
    Besides our own threads, the master and `nginx -t`; one worker runs in any case.
    """
    assert workers == fitting_workers(4, room)


@pytest.mark.skipif(PROCESSORS < 2, reason="needs two processors")
def test_F11_cpu_affinity_limits_the_workers(tmp_path: Path) -> None:
    """
    A process that may use one of several processors gets one worker.
    """
    assert 1 == worker_count_in_child(1, tmp_path)
    assert 2 == worker_count_in_child(2, tmp_path)


@pytest.mark.skipif(PROCESSORS < 2, reason="needs two processors")
def test_F11_nginx_runs_one_worker_on_one_processor(supervise: Supervise, nomad: FakeNomad) -> None:
    """
    Pinned to one of several processors, as by a cpuset, nginx runs one worker.
    """
    first = min(os.sched_getaffinity(0))
    pin = f"import os, sys; os.sched_setaffinity(0, [{first}]); os.execv(sys.argv[1], sys.argv[1:])"
    command = (sys.executable, "-c", pin, *RUN)
    subject = supervise(subject=subject_for(nomad, command))
    subject.wait_for_log("reload.applied")
    eventually(lambda: 1 == len(subject.nginx_workers()))
    assert b"worker_processes 1;" in (subject.home / "run/conf/nginx.conf").read_bytes()


@pytest.fixture
def half_a_processor() -> Iterator[Path]:
    """
    Yield a real control group with a quota of half a processor.
    """
    group = CPU / f"autoexit-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"cannot create a control group: {error}")
    try:
        (group / "cpu.cfs_quota_us").write_text("50000")
        yield group
    finally:
        eventually(lambda: not (group / "cgroup.procs").read_text(), what="an empty group")
        group.rmdir()


@pytest.mark.skipif(PROCESSORS < 2, reason="needs two processors")
def test_F11_nginx_runs_one_worker_with_a_small_quota(
    half_a_processor: Path, nomad: FakeNomad
) -> None:
    """
    In a control group with a quota of half a processor, seen as in a container, nginx runs one
    worker on a host with several processors.
    """
    shell = ("sh", "-ec", IN_A_GROUP.format(group=half_a_processor), "sh", *RUN)
    with Supervised(nomad, subject=Ours(nomad, command=shell)) as subject:
        subject.wait_for_log("reload.applied", 20)
        eventually(lambda: 1 == len(subject.nginx_workers()))
        assert b"worker_processes 1;" in (subject.home / "run/conf/nginx.conf").read_bytes()
