"""
Limits of control groups, read from trees of both versions.
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
    Make a tree of groups with this process in the group `own`, given as in /proc/self/cgroup.
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
def test_processes(tree: Tree, files: dict[str, str], own: str, expected: float) -> None:
    """
    The limit of our group minus its processes, in both versions; an unreadable limit and the limit
    of another group are ignored.
    """
    assert expected == cgroup.processes(tree(files, own))


@pytest.mark.parametrize(
    "own_limit, parent_limit, expected", [("100", "30", 20), ("30", "100", 20), ("max", "30", 20)]
)
@pytest.mark.parametrize("version", [1, 2])
def test_the_fullest_group_up_to_the_root_counts(
    tree: Tree, version: int, own_limit: str, parent_limit: str, expected: int
) -> None:
    """
    Below the root (raw_exec) a parent group with other tasks may be the full one.
    """
    prefix = "pids/" if version == 1 else ""
    own = "3:pids:/nomad/task\n" if version == 1 else "0::/nomad/task\n"
    files = {
        f"{prefix}nomad/task/pids.max": own_limit,
        f"{prefix}nomad/task/pids.current": "10",
        f"{prefix}nomad/pids.max": parent_limit,
        f"{prefix}nomad/pids.current": "10",
    }

    assert expected == cgroup.processes(tree(files, own))


def test_a_parent_with_a_higher_limit_may_be_fuller(tree: Tree) -> None:
    """
    The number of processes that can still start counts, not the limit.
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
    The smallest quota of our group and its parents in processors; other groups are ignored.
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
    The smallest limit of our group and its parents, in both versions.
    """
    assert expected == cgroup.memory(tree(files, own))


@pytest.mark.parametrize("own", ["", "garbage\n", "0::/gone/away\n", "0::/../../etc\n"])
def test_a_missing_group_falls_back_to_its_parents(tree: Tree, own: str) -> None:
    """
    Docker shows a container its own group as the root, while /proc may name a path outside it.
    """
    assert 15 == cgroup.processes(tree({"pids.max": "20\n", "pids.current": "5\n"}, own))


def test_without_proc_there_are_no_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    All limits are infinite when /proc/self/cgroup cannot be read.
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
def test_a_child_is_killed_first_only_under_a_limit(
    monkeypatch: pytest.MonkeyPatch, limit: float, bonus: int
) -> None:
    """
    Its score grows by our memory's share of the limit; without a memory limit it is left alone.
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


def test_an_exited_child_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nginx may exit immediately.
    """
    monkeypatch.setattr(cgroup, "memory", lambda: float(MIB))
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)

    process.prefer_oom_kill(child)
