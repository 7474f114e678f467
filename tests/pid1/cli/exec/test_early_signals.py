"""
A stop signal that comes while a wrapped command has hardly begun to live.
"""

import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.support.first_moments import listens, passes
from tests.support.waiting import eventually
from tests.support.wrapped import Wrapped
from tools import onefile

Wrap = Callable[..., Wrapped]

SIDE_BY_SIDE = 3


def test_a_stop_right_after_the_start(wrap: Wrap, tmp_path: Path) -> None:
    """
    TERM at every second millisecond of the first eighty, counted from the first instruction of the
    one file: exit 0, whether the command had been started by then or not.
    """
    file = onefile.make(tmp_path / "autoexit.pyz")

    def stopped_after(delay: float) -> tuple[int, str]:
        subject = wrap("sleep", "60", exec_words=(sys.executable, "-I", str(file)))
        with suppress(AssertionError):  # it may be through with what it does already
            eventually(lambda: listens(subject.pid), 3, 0.0002)
        passes(delay)
        subject.signal(signal.SIGTERM)
        return subject.wait(8), str(subject.ended["reason"])

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        ends = list(pool.map(stopped_after, [ms / 1000 for ms in range(0, 80, 2)]))

    assert {0} == {code for code, _ in ends}
    assert {"stop signal before the start", "stop signal"} >= {reason for _, reason in ends}
