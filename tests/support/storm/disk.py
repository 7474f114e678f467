"""
A folder on a small disk of its own, which becomes full, read-only, or hangs.

The program may run in a mount namespace that was copied from this process's at its start, so what
is mounted over the folder is looked for in both.
"""

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.checkout import CHECKOUT

_HANG = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.support.hanging_disk import HangingDisk
with HangingDisk(Path(sys.argv[2])):
    print("hangs", flush=True)
    sys.stdin.read()
"""


class Disk:
    """
    The folder; `namespace` returns a pid in the program's mount namespace, 0 for this process's.
    """

    def __init__(self, folder: Path, namespace: Callable[[], int]) -> None:
        self._folder = folder
        self._namespace = namespace
        folder.mkdir(mode=0o711)
        self._run(0, "mount", "-t", "tmpfs", "-o", "size=16m,mode=711", "storm", str(folder))

    def close(self) -> None:
        """
        Remove the disk.
        """
        self._clear()
        self._run(0, "umount", "-l", str(self._folder))

    def apply(self, fault: str) -> Callable[[], None]:
        """
        Make a fault happen, and return what ends it.
        """
        if fault.endswith("full"):
            return self._fill()
        pid = self._namespace()
        if fault.endswith("hangs"):
            return self._hang(pid)
        # A bind mount, because a disk in use cannot be made read-only.
        self._run(pid, "mount", "--bind", str(self._folder), str(self._folder))
        self._run(pid, "mount", "-o", "remount,bind,ro", str(self._folder))
        return self._clear

    def _fill(self) -> Callable[[], None]:
        path = self._folder / "full"
        with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        return lambda: path.unlink(missing_ok=True)

    def _hang(self, pid: int) -> Callable[[], None]:
        process = subprocess.Popen(
            [*_inside(pid), sys.executable, "-c", _HANG, str(CHECKOUT), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()

        def undo() -> None:
            process.communicate()
            self._clear()

        return undo

    def _clear(self) -> None:
        """Unmount what is over the folder's own disk."""
        for pid in {0, self._namespace()}:
            for _ in range(self._mounts(pid) - 1):
                self._run(pid, "umount", "-l", str(self._folder))
            assert self._mounts(pid) <= 1, f"cannot unmount what is over {self._folder}"

    def _mounts(self, pid: int) -> int:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid or 'self'}/mountinfo").read_text().splitlines()
            return sum(line.split()[4] == str(self._folder) for line in lines)
        return 0

    def _run(self, pid: int, *words: str) -> None:
        # It fails where the namespace has just ended with the program.
        subprocess.run([*_inside(pid), *words], check=pid == 0, capture_output=True)


def _inside(pid: int) -> list[str]:
    return ["nsenter", "-t", str(pid), "-p", "-m", f"--wd={CHECKOUT}", "--"] if pid else []
