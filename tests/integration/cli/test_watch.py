"""
`status --watch` on a real terminal.
"""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.admin_subject import AdminSubject, running_with_admin

ROWS, COLUMNS = 8, 40

_STEP = re.compile(r"\x1b\[([?0-9]*)([A-Za-z])|\r|\n|.", re.DOTALL)


class Terminal:
    """
    The screen after each step of what a program writes: of the sequences that `--watch` uses.
    """

    def __init__(self) -> None:
        self.lines = [""] * ROWS
        self.row = self.column = self.scrolled = 0

    def feed(self, text: str) -> Iterator[list[str]]:
        """
        Yield the screen after each character or sequence.
        """
        for step in _STEP.finditer(text):
            self._apply(step[0], step[2])
            yield [line.rstrip() for line in self.lines]

    def _apply(self, step: str, letter: str | None) -> None:
        line = self.lines[self.row]
        if letter == "H":
            self.row = self.column = 0
        elif letter == "K":
            self.lines[self.row] = line[: self.column]
        elif letter == "J":
            keep = 0 if "2" in step else self.row + 1
            self.lines[keep:] = [""] * (ROWS - keep)
        elif step == "\r":
            self.column = 0
        elif step == "\n":
            self.scrolled += self.row == ROWS - 1
            self.row = min(ROWS - 1, self.row + 1)
        elif letter is None:
            assert self.column < COLUMNS, f"{line!r} would wrap"
            self.lines[self.row] = (
                line[: self.column].ljust(self.column) + step + line[self.column + 1 :]
            )
            self.column += 1
        else:
            assert letter in "hl", step


@contextmanager
def watching(subject: AdminSubject) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """
    Run `status --watch` on a small terminal; return the process and the terminal's other end.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor", "status", "--watch", "50ms"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "RUNTIME_DIR": str(subject.home / "run")},
    ) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            process.kill()
            os.close(ours)


def frames(ours: int, count: int) -> str:
    """
    Read until this many tables were written.
    """
    text = ""
    while text.count("deadline ") < count:
        text += os.read(ours, 65536).decode()
    return text


def test_watch_updates_in_place() -> None:
    """
    After the first table no line is ever empty or scrolled away, and longer text is cut.
    """
    with (
        running_with_admin("one", "two", TTL="5h") as subject,
        watching(subject) as (process, ours),
    ):
        terminal, first = Terminal(), ""
        for screen in terminal.feed(frames(ours, 1)):
            first = screen[0]
        assert first.startswith("web")
        steps = list(terminal.feed(frames(ours, 4)))
        assert len(steps) > 500
        assert {first} == {screen[0] for screen in steps}
        assert all(screen[1].startswith("deadline") for screen in steps)
        assert 0 == terminal.scrolled
        assert re.match(r"and \d+ more lines", steps[-1][ROWS - 2])

        process.send_signal(signal.SIGINT)
        assert 0 == process.wait(5)


@pytest.mark.parametrize("words", [("--json",), ()])
def test_a_pipe_gets_no_control_sequences(words: tuple[str, ...]) -> None:
    """
    As a program reads it: each status follows the last one.
    """
    with (
        running_with_admin("one") as subject,
        subprocess.Popen(
            [sys.executable, "-m", "supervisor", "status", "--watch", "50ms", *words],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "RUNTIME_DIR": str(subject.home / "run")},
        ) as process,
    ):
        assert process.stdout is not None
        found: list[str] = []
        while sum(line.startswith(("web", "{")) for line in found) < 2:
            found.append(process.stdout.readline())
            assert found[-1]
        process.kill()

    assert "\x1b" not in "".join(found)
