"""
A stop signal that arrives while `exec` is starting.
"""

import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.support.exec_process import ExecProcess
from tests.support.startup_timing import blocks_stop_signals, pause
from tests.support.waiting import eventually
from tools import onefile

RunExec = Callable[..., ExecProcess]

SIDE_BY_SIDE = 3


def test_a_stop_right_after_the_start(run_exec: RunExec, tmp_path: Path) -> None:
    """
    TERM at every other millisecond of the first eighty after the first instruction of the zipapp:
    exit code 0, whether the command had been started or not.
    """
    file = onefile.make(tmp_path / "autoexit.pyz")

    def stopped_after(delay: float) -> tuple[int, str]:
        subject = run_exec("sleep", "60", exec_words=(sys.executable, "-I", str(file)))
        with suppress(AssertionError):  # it may have finished already
            eventually(lambda: blocks_stop_signals(subject.pid), 3, 0.0002)
        pause(delay)
        subject.signal(signal.SIGTERM)
        return subject.wait(8), str(subject.ended["reason"])

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        ends = list(pool.map(stopped_after, [ms / 1000 for ms in range(0, 80, 2)]))

    assert {0} == {code for code, _ in ends}
    assert {"stop signal before the start", "stop signal"} >= {reason for _, reason in ends}
