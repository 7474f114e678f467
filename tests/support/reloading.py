"""
Reloads on demand: only a comment and the order of the servers change.
"""

import signal

from tests.support.supervised import Supervised
from tests.support.waiting import eventually

#: A short interval, so that tests do not wait for the token bucket.
FAST_RELOADS = {"RELOAD_INTERVAL": "50ms", "START_WAIT": "5s"}


def reload(subject: Supervised) -> None:
    """
    Reload nginx, and return when the old workers accept no more connections.
    """
    before, old = len(subject.log_lines("reload.applied")), {*subject.nginx_workers()}
    subject.write_in("conf.d", "reloaded.conf", f"# {before}\n")
    subject.signal(signal.SIGHUP)
    wait_for_reloads(subject, before + 1, old)


def wait_for_reloads(subject: Supervised, applied: int, old: set[int]) -> None:
    """
    Wait for the number of reloads, and until the old workers accept no more connections.
    """
    eventually(
        lambda: len(subject.log_lines("reload.applied")) >= applied, what=f"{applied} reloads"
    )
    eventually(
        lambda: old.isdisjoint(subject.nginx_workers()), what="old workers to stop accepting"
    )
