"""
Signals as a PID 1 should take them: all blocked, one thread that waits for them.

No handler exists, so nothing runs between two bytecodes and no wake-up is late: with handlers and
a blocking `SimpleQueue.get`, one pair of simultaneous signals in twenty was seen only when the
get timed out.  The price is that `block` must come before the first thread and the first import
that could start one; what arrives earlier is discarded by the kernel for a PID 1.
"""

import signal
import threading
from collections.abc import Callable

from supervisor.core.signal_sets import WAITED_FOR


def block() -> None:
    """
    Block every signal that can be waited for, in this thread and all it will start.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, WAITED_FOR)
    # Where a parent left it ignored, the kernel buries our children itself and no code is seen.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def unblock() -> None:
    """
    Leave all signals as a program expects them that takes over this process by exec.

    Python ignores two of them from its start on, and exec would keep that: `yes | head -1` would
    complain of a broken pipe.
    """
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def listen(on_signal: Callable[[int], None]) -> None:
    """
    Start the thread that takes every signal and hands its number on.
    """

    def wait_for_ever() -> None:
        while True:
            on_signal(signal.sigwait(WAITED_FOR))

    threading.Thread(target=wait_for_ever, name="signals", daemon=True).start()
