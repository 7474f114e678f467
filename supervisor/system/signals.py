"""
Signal handling for a PID 1: all signals are blocked, and one thread waits for them.

There are no handlers, so no code runs between two bytecodes and no wake-up is late: with handlers
and a blocking `SimpleQueue.get`, one of 20 pairs of simultaneous signals was noticed only when the
get timed out.  In return `block` must be called before the first thread and before any import that
may start one.  For a PID 1 the kernel discards signals that arrive earlier.
"""

import signal
import threading
from collections.abc import Callable

from supervisor.core.signal_sets import WAITED_FOR


def block() -> None:
    """
    Block all signals that can be waited for, in this thread and in all threads it starts.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, WAITED_FOR)
    # If the parent left SIGCHLD ignored, the kernel would reap our children and drop their codes.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def unblock() -> None:
    """
    Restore the default signal state for a program that replaces this process by exec.

    Python ignores two signals, and exec would keep that: `yes | head -1` would report a broken
    pipe.
    """
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def listen(on_signal: Callable[[int], None]) -> None:
    """
    Start the thread that waits for signals and calls `on_signal` with each number.
    """

    def wait() -> None:
        while True:
            on_signal(signal.sigwait(WAITED_FOR))

    threading.Thread(target=wait, name="signals", daemon=True).start()
