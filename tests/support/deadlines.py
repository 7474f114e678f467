"""
What the tests of the deadline share: the record a restart finds, and clocks that jump.
"""

import json
import time
from pathlib import Path

from tests.support.supervised import Supervised

#: How far from its deadline an idle end may be.
EXACT = 0.5


def write_record(folder: Path, **changes: object) -> str:
    """
    Write the record of a first start an hour ago under TTL=2h, or as `changes` have it.

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
    Write these bytes where the record belongs.  Returns the folder as STATE_DIR.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "state.json").write_bytes(content)
    return str(folder)


def ended_at(subject: Supervised) -> float:
    """
    Return the epoch at which it ended, however late one asks.
    """
    assert subject.run.exited_at is not None, "it has not ended"
    return time.time() - (time.monotonic() - subject.run.exited_at)


def first_start(subject: Supervised) -> float:
    """
    Return the epoch it counts from; one that keeps no record counts from its launch.
    """
    state = subject.state
    if state is None:
        return time.time() - (time.monotonic() - subject.run.started_at)
    return float(state["first_start"])


def run_time(subject: Supervised) -> float:
    """
    Return the seconds from the first start to the end.
    """
    return ended_at(subject) - first_start(subject)


def on_time(seconds: float, due: float) -> bool:
    """
    Whether something came when due: never early, and late by what a busy machine may need.
    """
    return due - 0.1 <= seconds <= due + 1


class Clocks:
    """
    Makes the clocks of one program jump; the machine's own are left alone.

    Give `path` to the program as PYTHONPATH: Python imports a sitecustomize before all else.
    """

    def __init__(self, folder: Path) -> None:
        self._steps = folder / "steps.json"
        self.path = str(folder)
        (folder / "sitecustomize.py").write_text(_SITE.format(steps=str(self._steps)))
        self.step()

    def step(self, wall: float = 0.0, suspended: float = 0.0) -> None:
        """
        Move the wall clock by so many seconds, and the one that counts suspend by others.

        The clock that stands still during a suspend stands still.
        """
        fresh = self._steps.with_suffix(".new")
        fresh.write_text(json.dumps({"wall": wall, "suspended": suspended}))
        fresh.replace(self._steps)


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
