"""
The entry point of the one file: blocks signals before anything else is imported.

`make onefile` puts this at the top of the archive.  `FILE COMMAND ...` and `FILE exec -- COMMAND`
are equivalent; a program that is itself named exec needs `--` before it.
"""

import signal

signal.pthread_sigmask(
    signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT}
)

import os
import sys


def main() -> None:
    """
    Run the command line and exit at once.
    """
    from supervisor.system import standard_streams

    standard_streams.open_missing()

    from supervisor import __version__
    from supervisor.cli.exec import run
    from supervisor.core.errors import ExitCode, Problem

    arguments = sys.argv[2:] if sys.argv[1:2] == ["exec"] else sys.argv[1:]
    code: int
    try:
        if arguments == ["--version"]:
            os.write(1, f"autoexit-nginx {__version__}\n".encode())
            code = ExitCode.OK
        else:
            code = run.run_command(arguments, os.environ)
    except Problem as problem:
        code = problem.code
        os.write(2, "".join(f"{line}\n" for line in problem.lines).encode())
    except Exception:  # noqa: BLE001 - an internal error has its own exit code
        import traceback

        traceback.print_exc()
        code = ExitCode.SOFTWARE
    os._exit(code)


if __name__ == "__main__":
    main()
