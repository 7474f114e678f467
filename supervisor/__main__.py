"""
Entry point: block all signals before importing anything else.

For PID 1 the kernel discards a stop signal without a handler; a blocked signal stays pending.
"""

import signal

signal.pthread_sigmask(
    signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT}
)

import os
import sys


def main() -> None:
    """
    Run the command line and exit at once, so that a hanging thread cannot delay the exit.
    """
    from supervisor.system import standard_streams

    standard_streams.open_missing()

    from supervisor.cli import main as cli
    from supervisor.system import signals

    signals.block()
    code = cli.main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
