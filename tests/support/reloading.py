"""
Reloads on demand: nothing changes but a comment, and the order in which the servers stand.
"""

import signal

from tests.support.supervised import Supervised
from tests.support.waiting import eventually

#: So that a test does not wait for the bucket to refill.
FAST_RELOADS = {"RELOAD_INTERVAL": "50ms", "START_WAIT": "5s"}


def reload(subject: Supervised) -> None:
    """
    Have nginx reload, and return when the workers of before accept nobody any more.
    """
    before, old = len(subject.log_lines("reload.applied")), {*subject.nginx_workers()}
    subject.write_in("conf.d", "reloaded.conf", f"# {before}\n")
    subject.signal(signal.SIGHUP)
    wait_for_reloads(subject, before + 1, old)


def wait_for_reloads(subject: Supervised, applied: int, old: set[int]) -> None:
    """
    Wait for so many reloads, and for the workers of before to be done with new connections.
    """
    eventually(
        lambda: len(subject.log_lines("reload.applied")) >= applied, what=f"{applied} reloads"
    )
    eventually(lambda: old.isdisjoint(subject.nginx_workers()), what="old workers that leave")
