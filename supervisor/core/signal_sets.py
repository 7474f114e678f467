"""
The signals that request a stop, and those that are blocked and waited for.
"""

import signal

#: Signals that start a graceful stop; a second one shortens it (see `drain_ladder`).
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})

#: Signals for faults of the running code; blocking them would hide a crash.
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

#: Signals that PID 1 blocks and receives with `sigwait`, so that none needs a handler.
WAITED_FOR = frozenset(signal.valid_signals()) - _FAULTS - {signal.SIGKILL, signal.SIGSTOP}
