"""
A command under `exec` as a real process.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Self

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.launched import Launched, Stdout
from tests.support.namespaces import Process, ProcessTree, why_no_unshare
from tests.support.output_reader import Line
from tests.support.subjects import Launch
from tests.support.waiting import eventually

EXEC = (sys.executable, "-m", "supervisor", "exec", "--")


class ExecProcess:
    """
    One run of a command; the log of `exec` is on stderr, or on the terminal with "tty".
    """

    def __init__(
        self,
        *command: str,
        pid1: bool = True,
        stdout: Stdout = "read",
        exec_words: tuple[str, ...] = EXEC,
        **settings: str,
    ) -> None:
        if pid1 and why_no_unshare():
            pytest.skip(why_no_unshare())
        self.home = Path(tempfile.mkdtemp(prefix="ax-", dir="/tmp"))
        self.state_dir = Path(settings.get("STATE_DIR", str(self.home / "state")))
        environ = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "STATE_DIR": str(self.state_dir),
            **settings,
        }
        self._launch = Launch((*exec_words, *command), environ, CHECKOUT)
        self._pid1 = pid1
        self._stdout: Stdout = stdout
        self.run = self._start()

    def again(self) -> Self:
        """
        Start it again, as a restart of the task would.
        """
        self.run.kill()
        self.run = self._start()
        return self

    @property
    def pid(self) -> int:
        """
        Its pid on the host.
        """
        return self.run.pid

    @property
    def lines(self) -> list[Line]:
        """
        The log lines of `exec`.
        """
        return list((self.run.output if self._stdout == "tty" else self.run.stderr).records)

    @property
    def output(self) -> list[str]:
        """
        The output of the command.
        """
        return list(self.run.output.plain)

    def wait_for_line(self, event: str, within: float = 10.0) -> Line:
        """
        Wait for a log line of an event and return the first.
        """
        return eventually(
            lambda: [line for line in self.lines if line["event"] == event],
            within,
            what=f"a line of {event} in {self.lines}",
        )[0]

    def wait_for_text(self, text: str, within: float = 10.0) -> None:
        """
        Wait until the command has printed a line.
        """
        eventually(lambda: text in self.output, within, what=f"{text!r} in {self.output}")

    def signal(self, *numbers: int) -> None:
        """
        Send it signals from the host, as a container engine does.
        """
        self._tree.refresh()
        for number in numbers:
            os.kill(self.pid, number)

    def wait(self, within: float = 10.0) -> int:
        """
        Wait until it exits and return its exit code.
        """
        code = self.run.wait(within)
        assert code is not None, f"still running after {within:g} s: {self.lines} {self.output}"
        return code

    def run_time(self) -> float:
        """
        Return the seconds from its launch to its exit.
        """
        assert self.run.exited_at is not None, "it has not exited"
        return self.run.exited_at - self.run.started_at

    @property
    def ended(self) -> Line:
        """
        The last line of the event `ended`, with the reason.
        """
        return next(line for line in reversed(self.lines) if line["event"] == "ended")

    def processes(self) -> list[Process]:
        """
        Return all processes, including its own.
        """
        return self._tree.processes()

    def find(self, title: str) -> Process:
        """
        Wait for a process with this command line and return it.
        """
        return eventually(lambda: [p for p in self.processes() if p.title == title], what=title)[0]

    def close(self) -> None:
        """
        Kill all its processes and remove its home folder.
        """
        self._tree.kill()
        self.run.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def _start(self) -> Launched:
        run = Launched(self._launch, pid1=self._pid1, stdout=self._stdout)
        self._tree = ProcessTree(run.pid, f"{self.home}/", pid1=self._pid1)
        return run


def trapping(*names: str, then: str = "") -> tuple[str, ...]:
    """
    Return a shell that prints "ready", and then the name of each of these signals it gets.
    """
    traps = "; ".join(f"trap 'echo got-{name}; {then}' {name}" for name in names)
    return ("sh", "-c", f"{traps}; echo ready; while :; do sleep 0.05; done")
