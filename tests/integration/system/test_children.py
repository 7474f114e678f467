"""
The order in which starts and exits of children are reported.
"""

import threading
from pathlib import Path

import psutil

from supervisor.core.model import ChildKind
from supervisor.system.process import Children
from tests.support.waiting import eventually


def test_an_exit_is_never_reported_before_the_start() -> None:
    """
    A child that exits immediately is reaped after its start is announced; otherwise its exit could
    not be assigned, and an exit of nginx would go unnoticed.
    """
    children, reported = Children(), list[str]()
    spawned = list[int]()
    reaping = threading.Event()

    def reap() -> None:
        reaping.set()
        while "ended" not in reported:
            reported.extend("ended" for each in children.reap() if each.pid in spawned)

    def announce(pid: int) -> None:
        spawned.append(pid)
        eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        thread.start()
        assert reaping.wait(5)
        reported.append("started")

    thread = threading.Thread(target=reap, daemon=True)
    with Path("/dev/null").open("wb") as nowhere:
        children.spawn(ChildKind.MASTER, ["/bin/true"], nowhere.fileno(), announce)
    thread.join(10)

    assert ["started", "ended"] == reported
