"""
File operations with a time limit: a disk that hangs must delay neither a stop signal nor the
deadline.

A hanging system call cannot be cancelled, so a thread makes it and is abandoned.  The caller has
blocked all signals: they stay pending and are only looked at.  This module also ships to the images
of replicas: standard library only, Python 3.9, and `_thread` because `threading` takes memory.
"""

from __future__ import annotations

import _thread
import errno
import signal
from typing import TYPE_CHECKING, TypeVar

from supervisor.core.signal_sets import STOP_SIGNALS
from supervisor.system.clock import boot_clock

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: How soon a stop signal is noticed while the disk hangs, in seconds.
_SLICE = 0.05


class StopPendingError(Exception):
    """
    A stop signal is pending; it was not taken.
    """


def run_within(seconds: float, action: Callable[[], T], *, heed_stop: bool = True) -> T:
    """
    Perform an action in a thread and return its result, or raise its exception.

    Raises TimeoutError after `seconds`, and with `heed_stop` StopPendingError when a stop signal is
    pending before the action has ended; the action may then still complete.
    """
    until = boot_clock() + seconds
    done = _thread.allocate_lock()
    done.acquire()
    results: list[T] = []
    errors: list[BaseException] = []

    def act() -> None:
        try:
            results.append(action())
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            errors.append(error)
        finally:
            done.release()

    try:
        _thread.start_new_thread(act, ())
    except RuntimeError:  # no thread is left: better late than not done
        act()
    while not done.acquire(timeout=max(0.0, min(_SLICE, until - boot_clock()))):
        if heed_stop and STOP_SIGNALS & signal.sigpending():
            raise StopPendingError
        if boot_clock() >= until:
            raise TimeoutError(errno.ETIMEDOUT, f"the disk did not respond within {seconds:.3g}s")
    if errors:
        raise errors[0]
    return results[0]
