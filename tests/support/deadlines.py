"""
Shared code for tests of the deadline: the record a restart finds, and clocks that jump.
"""

import json
import time
from pathlib import Path

from tests.support.supervised import Supervised

#: The allowed distance of an idle exit from its deadline, in seconds.
EXACT = 0.5


def write_record(folder: Path, **changes: object) -> str:
    """
    Write the record of a first start an hour ago with TTL=2h, with these changes.

    Returns the folder as STATE_DIR.
    """
    now = time.time()
    record: dict[str, object] = {
        "allocation": "",
        "first_start": now - 3600,
        "origin": "TTL=2h",
        "deadline": now + 3600,
        "extended_to": None,
    }
    return write_raw(folder, json.dumps(record | changes).encode())


def write_raw(folder: Path, content: bytes) -> str:
    """
    Write these bytes as the record.  Returns the folder as STATE_DIR.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "state.json").write_bytes(content)
    return str(folder)


def ended_at(subject: Supervised) -> float:
    """
    Return the time of its exit as epoch seconds, exact however late it is read.
    """
    assert subject.run.exited_at is not None, "it has not exited"
    return time.time() - (time.monotonic() - subject.run.exited_at)


def first_start(subject: Supervised) -> float:
    """
    Return the first start in epoch seconds; without a record this is the launch.
    """
    state = subject.state
    if state is None:
        return time.time() - (time.monotonic() - subject.run.started_at)
    return float(state["first_start"])


def run_time(subject: Supervised) -> float:
    """
    Return the seconds from the first start to the exit.
    """
    return ended_at(subject) - first_start(subject)


def on_time(seconds: float, due: float) -> bool:
    """
    Whether a time is right: not early, and late by at most the allowance of a busy machine.
    """
    return due - 0.1 <= seconds <= due + 1


class Clocks:
    """
    Makes the clocks of one program jump; the machine's clocks do not change.

    Pass `path` to the program as PYTHONPATH: Python imports sitecustomize before anything else.
    """

    def __init__(self, folder: Path) -> None:
        self._steps = folder / "steps.json"
        self.path = str(folder)
        (folder / "sitecustomize.py").write_text(_SITE.format(steps=str(self._steps)))
        self.step()

    def step(self, wall: float = 0.0, suspended: float = 0.0) -> None:
        """
        Move the wall clock by `wall` seconds and the clock that counts suspend by `suspended`.

        The clock that stops during a suspend is not moved.
        """
        temporary = self._steps.with_suffix(".new")
        temporary.write_text(json.dumps({"wall": wall, "suspended": suspended}))
        temporary.replace(self._steps)


_SITE = """\
import json
import time

wall, clock = time.time, time.clock_gettime


def step(name):
    with open({steps!r}) as file:
        return json.load(file)[name]


def stepped(which):
    if which == time.CLOCK_REALTIME:
        return clock(which) + step("wall")
    return clock(which) + (step("suspended") if which == time.CLOCK_BOOTTIME else 0)


time.time = lambda: wall() + step("wall")
time.clock_gettime = stepped
"""
