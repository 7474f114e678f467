"""
What control groups grant, read from trees of either version.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.system import cgroup, process

Tree = Callable[..., Path]

MIB = 1 << 20


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """
    Make a tree of groups, and put this process at a place in it: `own` as in /proc/self/cgroup.
    """

    def make(files: dict[str, str], own: str = "0::/\n") -> Path:
        root = tmp_path / "cgroup"
        root.mkdir()
        (tmp_path / "own").write_text(own)
        monkeypatch.setattr(cgroup, "_OWN_GROUPS", tmp_path / "own")
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    return make


@pytest.mark.parametrize(
    "files, own, expected",
    [
        ({}, "0::/\n", math.inf),
        ({"pids.max": "max\n", "pids.current": "5\n"}, "0::/\n", math.inf),
        ({"pids.max": "20\n", "pids.current": "5\n"}, "0::/\n", 15),
        ({"pids.max": "20\n", "pids.current": "25\n"}, "0::/\n", 0),
        ({"pids.max": "20\n"}, "0::/\n", math.inf),
        ({"pids.max": "much\n", "pids.current": "5\n"}, "0::/\n", math.inf),
        ({"pids/pids.max": "20\n", "pids/pids.current": "5\n"}, "3:pids:/\n0::/\n", 15),
        (
            {
                "pids/docker/x/pids.max": "20\n",
                "pids/docker/x/pids.current": "5\n",
                "pids/other/pids.max": "1\n",
                "pids/other/pids.current": "1\n",
            },
            "7:cpu,cpuacct:/\n3:pids:/docker/x\n",
            15,
        ),
    ],
)
def test_room_for_processes(tree: Tree, files: dict[str, str], own: str, expected: float) -> None:
    """
    The limit less what runs, of our group in either version; what cannot be read bounds nothing,
    and another's group does not concern us.
    """
    assert expected == cgroup.processes(tree(files, own))


@pytest.mark.parametrize(
    "own_room, parent_room, expected", [("100", "30", 20), ("30", "100", 20), ("max", "30", 20)]
)
@pytest.mark.parametrize("version", [1, 2])
def test_the_fullest_group_on_the_way_up_counts(
    tree: Tree, version: int, own_room: str, parent_room: str, expected: int
) -> None:
    """
    Below the root (raw_exec) a parent with other tasks in it may be the one that is full.
    """
    prefix = "pids/" if version == 1 else ""
    own = "3:pids:/nomad/task\n" if version == 1 else "0::/nomad/task\n"
    files = {
        f"{prefix}nomad/task/pids.max": own_room,
        f"{prefix}nomad/task/pids.current": "10",
        f"{prefix}nomad/pids.max": parent_room,
        f"{prefix}nomad/pids.current": "10",
    }

    assert expected == cgroup.processes(tree(files, own))


def test_a_parent_is_fuller_though_its_limit_is_higher(tree: Tree) -> None:
    """
    What counts is the room that is left, not the limit.
    """
    files = {
        "nomad/task/pids.max": "100",
        "nomad/task/pids.current": "10",
        "nomad/pids.max": "1000",
        "nomad/pids.current": "997",
    }

    assert 3 == cgroup.processes(tree(files, "0::/nomad/task\n"))


@pytest.mark.parametrize(
    "files, own, expected",
    [
        ({}, "0::/\n", math.inf),
        ({"cpu.max": "max 100000\n"}, "0::/\n", math.inf),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"a/b/cpu.max": "150000 100000\n", "a/cpu.max": "50000 100000\n"}, "0::/a/b\n", 0.5),
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}, "0::/a/b\n", 0.5),
        ({"a/cpu.max": "50000 100000\n"}, "0::/\n", math.inf),
        (
            {
                "cpu/x/cpu.cfs_quota_us": "-1\n",
                "cpu/x/cpu.cfs_period_us": "100000\n",
                "cpu/cpu.cfs_quota_us": "70000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            "2:cpu,cpuacct:/x\n0::/\n",
            0.7,
        ),
    ],
)
def test_processors(tree: Tree, files: dict[str, str], own: str, expected: float) -> None:
    """
    The smallest quota on the way up, in processors; no quota of another's.
    """
    assert expected == cgroup.processors(tree(files, own))


@pytest.mark.parametrize(
    "files, own, expected",
    [
        ({}, "0::/\n", math.inf),
        ({"memory.max": "max\n"}, "0::/\n", math.inf),
        ({"memory.max": "1024\n"}, "0::/\n", 1024),
        ({"a/b/memory.max": "max\n", "a/memory.max": "512\n"}, "0::/a/b\n", 512),
        ({"memory/memory.limit_in_bytes": "2048\n"}, "4:memory:/\n", 2048),
        ({"memory/x/memory.limit_in_bytes": "2048\n"}, "4:memory:/x\n0::/\n", 2048),
        ({"memory.max": "lots\n"}, "0::/\n", math.inf),
    ],
)
def test_memory(tree: Tree, files: dict[str, str], own: str, expected: float) -> None:
    """
    The smallest limit on the way up, of either version.
    """
    assert expected == cgroup.memory(tree(files, own))


@pytest.mark.parametrize("own", ["", "garbage\n", "0::/gone/away\n", "0::/../../etc\n"])
def test_a_place_that_is_not_there_falls_back_to_what_is(tree: Tree, own: str) -> None:
    """
    Docker shows a container its own group as the root, while /proc may name a place outside it.
    """
    assert 15 == cgroup.processes(tree({"pids.max": "20\n", "pids.current": "5\n"}, own))


def test_a_machine_without_proc_bounds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Nor does one that hides it.
    """
    monkeypatch.setattr(cgroup, "_OWN_GROUPS", tmp_path / "none")

    assert [math.inf] * 3 == [
        cgroup.processors(tmp_path),
        cgroup.processes(tmp_path),
        cgroup.memory(tmp_path),
    ]


@pytest.mark.parametrize(
    "limit, bonus",
    [(math.inf, 0), (1 << 62, 0), (1 << 40, 0), (1000 * MIB, 100), (64 * MIB, 1000), (1, 1000)],
)
def test_a_child_goes_first_only_under_a_limit(
    monkeypatch: pytest.MonkeyPatch, limit: float, bonus: int
) -> None:
    """
    By as much of the limit as we may take; where nothing bounds the memory of our group, the order
    of the machine's processes stands.
    """
    monkeypatch.setattr(cgroup, "memory", lambda: limit)
    read, write = os.pipe()
    child = os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, read, 0)])
    try:
        path = Path(f"/proc/{child}/oom_score_adj")
        before = int(path.read_text())
        process.prefer_oom_kill(child)

        assert min(1000, before + bonus) == int(path.read_text())
    finally:
        os.close(read)
        os.close(write)
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_who_is_gone_already_need_not_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nginx may die at once.
    """
    monkeypatch.setattr(cgroup, "memory", lambda: float(MIB))
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)

    process.prefer_oom_kill(child)
