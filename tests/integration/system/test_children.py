"""
Starts and ends of children, in the order in which they are told.
"""

import threading
from pathlib import Path

import psutil

from supervisor.core.model import ChildKind
from supervisor.system.process import Children
from tests.support.waiting import eventually


def test_the_end_of_a_child_is_never_told_before_its_start() -> None:
    """
    A child that dies at once waits to be reaped until its start is announced: otherwise its end
    would belong to nobody, and nginx's death would go unnoticed.
    """
    children, told = Children(), list[str]()
    spawned = list[int]()
    reaping = threading.Event()

    def reap() -> None:
        reaping.set()
        while "ended" not in told:
            told.extend("ended" for each in children.reap() if each.pid in spawned)

    def announce(pid: int) -> None:
        spawned.append(pid)
        eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        thread.start()
        assert reaping.wait(5)
        told.append("started")

    thread = threading.Thread(target=reap, daemon=True)
    with Path("/dev/null").open("wb") as nowhere:
        children.spawn(ChildKind.MASTER, ["/bin/true"], nowhere.fileno(), announce)
    thread.join(10)

    assert ["started", "ended"] == told
