import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.nginx.host_limits import worker_count
from tests.support.checkout import CHECKOUT
from tests.support.fake_nomad import FakeNomad
from tests.support.image import subject_for
from tests.support.subjects import RUN, Ours
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]

CPU = Path("/sys/fs/cgroup/cpu")
PROCESSORS = len(os.sched_getaffinity(0))

# Docker shows a container its own control group in the place of the machine's.
IN_A_GROUP = 'echo $$ > {group}/cgroup.procs; mount --bind {group} /sys/fs/cgroup/cpu; exec "$@"'


def counted_in_a_child(processors: int, cgroup: Path) -> int:
    """
    Return the count of a process that may use so many processors.
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
def test_F11_the_quota_bounds_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], processors: int
) -> None:
    """
    As many workers as the quota has whole or begun processors, of either kind of control group, at
    least 1, at most 8; a quota that is not set or not readable bounds nothing.
    """
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert min(processors, PROCESSORS, 8) == worker_count(tmp_path)

    for have in (1, 2, 3, 64):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, have=have: set(range(have)))
        assert min(processors, have, 8) == worker_count(tmp_path)


@pytest.mark.skipif(PROCESSORS < 2, reason="there is one processor only")
def test_F11_the_processors_we_may_use_bound_the_workers(tmp_path: Path) -> None:
    """
    A process that may use one processor of several gets one worker.
    """
    assert 1 == counted_in_a_child(1, tmp_path)
    assert 2 == counted_in_a_child(2, tmp_path)


@pytest.mark.skipif(PROCESSORS < 2, reason="there is one processor only")
def test_F11_nginx_gets_a_worker_for_each_processor_we_may_use(
    supervise: Supervise, nomad: FakeNomad
) -> None:
    """
    Pinned to one processor, as by a cpuset, nginx runs one worker on a machine of several.
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
    A real control group that grants half a processor.
    """
    group = CPU / f"autoexit-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a control group: {error}")
    try:
        (group / "cpu.cfs_quota_us").write_text("50000")
        yield group
    finally:
        eventually(lambda: not (group / "cgroup.procs").read_text(), what="an empty group")
        group.rmdir()


@pytest.mark.skipif(PROCESSORS < 2, reason="there is one processor only")
def test_F11_nginx_gets_a_worker_for_the_quota_we_have(
    half_a_processor: Path, nomad: FakeNomad
) -> None:
    """
    Inside a control group that grants half a processor, seen as a container sees its own, nginx
    runs one worker on a machine of several.
    """
    shell = ("sh", "-ec", IN_A_GROUP.format(group=half_a_processor), "sh", *RUN)
    with Supervised(nomad, subject=Ours(nomad, command=shell)) as subject:
        subject.wait_for_log("reload.applied", 20)
        eventually(lambda: 1 == len(subject.nginx_workers()))
        assert b"worker_processes 1;" in (subject.home / "run/conf/nginx.conf").read_bytes()
