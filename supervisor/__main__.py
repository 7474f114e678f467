"""
The first instructions: signals are blocked before anything else is imported.

As PID 1 the kernel discards a stop signal that finds no handler; one that finds it blocked waits.
"""

import signal

signal.pthread_sigmask(
    signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT}
)

import os
import sys


def main() -> None:
    """
    Run the command line and leave at once: no thread that hangs may hold up the exit.
    """
    from supervisor.cli import main as cli
    from supervisor.system import signals

    signals.block()
    code = cli.main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
