"""
A real control group for one test, of either version, with the program under test in it.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fake_nomad import FakeNomad
from tests.support.subjects import Ours
from tests.support.waiting import eventually

_ROOT = Path("/sys/fs/cgroup")
_RUN = (sys.executable, "-m", "supervisor", "run")
_LIMITS = {"pids": ("pids.max",), "memory": ("memory.max", "memory.limit_in_bytes")}
_USED = {"pids": ("pids.current",), "memory": ("memory.current", "memory.usage_in_bytes")}


@dataclass(frozen=True, slots=True)
class Group:
    """
    A group that bounds one thing; no limit at first.
    """

    folder: Path
    controller: str

    @property
    def used(self) -> int:
        """
        How much of it is in use.
        """
        return int(self._file(_USED).read_text())

    def limit(self, most: int | None) -> None:
        """
        Grant so much, or all there is.
        """
        unlimited = "-1" if self._file(_LIMITS).name == "memory.limit_in_bytes" else "max"
        self._file(_LIMITS).write_text(unlimited if most is None else str(most))

    def around(self, nomad: FakeNomad) -> Ours:
        """
        Return the program, to be started inside.
        """
        # Before everybody else of the group, however large they are: so a test can fill it.
        last = "echo 500 > /proc/self/oom_score_adj"
        join = f'{last}; echo $$ > {self.folder}/cgroup.procs; exec "$@"'
        return Ours(nomad, command=("sh", "-ec", join, "sh", *_RUN))

    def _file(self, names: dict[str, tuple[str, ...]]) -> Path:
        found = [path for name in names[self.controller] if (path := self.folder / name).exists()]
        return found[0]


@contextmanager
def control_group(controller: str) -> Iterator[Group]:
    """
    Make one; skip, saying why, where this machine lets us make none.
    """
    own = _ROOT / controller if (_ROOT / controller).is_dir() else _ROOT
    folder = own / f"autoexit-test-{os.getpid()}"
    try:
        if own == _ROOT:
            (own / "cgroup.subtree_control").write_text(f"+{controller}")
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a control group for {controller}: {error}")
    group = Group(folder, controller)
    try:
        if not any((folder / name).exists() for name in _LIMITS[controller]):
            pytest.skip(f"cannot bound {controller} here: no such file in {folder}")
        yield group
    finally:
        with contextlib.suppress(OSError, IndexError):
            group.limit(None)
        eventually(lambda: not (folder / "cgroup.procs").read_text(), what="an empty group")
        folder.rmdir()
