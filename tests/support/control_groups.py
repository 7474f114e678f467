"""
A real control group for one test, v1 or v2, with the program under test in it.
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
    A control group with one controller, without a limit at first.
    """

    folder: Path
    controller: str

    @property
    def used(self) -> int:
        """
        The current usage.
        """
        return int(self._file(_USED).read_text())

    def limit(self, maximum: int | None) -> None:
        """
        Set the limit, or remove it with None.
        """
        unlimited = "-1" if self._file(_LIMITS).name == "memory.limit_in_bytes" else "max"
        self._file(_LIMITS).write_text(unlimited if maximum is None else str(maximum))

    def around(self, nomad: FakeNomad) -> Ours:
        """
        Return the program as a subject that is started inside the group.
        """
        # The OOM killer takes the rest of the group first, whatever the sizes: a test can fill it.
        last = "echo 500 > /proc/self/oom_score_adj"
        join = f'{last}; echo $$ > {self.folder}/cgroup.procs; exec "$@"'
        return Ours(nomad, command=("sh", "-ec", join, "sh", *_RUN))

    def _file(self, names: dict[str, tuple[str, ...]]) -> Path:
        found = [path for name in names[self.controller] if (path := self.folder / name).exists()]
        return found[0]


@contextmanager
def control_group(controller: str) -> Iterator[Group]:
    """
    Create a group, or skip the test with the reason.
    """
    own = _ROOT / controller if (_ROOT / controller).is_dir() else _ROOT
    folder = own / f"autoexit-test-{os.getpid()}"
    try:
        if own == _ROOT:
            (own / "cgroup.subtree_control").write_text(f"+{controller}")
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"cannot create a control group for {controller}: {error}")
    group = Group(folder, controller)
    try:
        if not any((folder / name).exists() for name in _LIMITS[controller]):
            pytest.skip(f"cannot limit {controller} here: no such file in {folder}")
        yield group
    finally:
        with contextlib.suppress(OSError, IndexError):
            group.limit(None)
        eventually(lambda: not (folder / "cgroup.procs").read_text(), what="an empty group")
        folder.rmdir()
