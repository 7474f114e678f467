"""
Which signals mean "stop", and which can be blocked and waited for.
"""

import signal

#: Each of these starts a graceful stop; a second one shortens it (see `drain_ladder`).
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})

#: Raised by a fault of the running code itself: blocking them would hide a crash.
_FAULTS = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGABRT,
        signal.SIGTRAP,
        signal.SIGSYS,
    }
)

#: Every signal that PID 1 blocks and takes with `sigwait`, so that none needs a handler.
WAITED_FOR = frozenset(signal.valid_signals()) - _FAULTS - {signal.SIGKILL, signal.SIGSTOP}
