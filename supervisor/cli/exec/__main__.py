"""
The one file's first instructions: signals are blocked before anything else is imported.

`make onefile` puts this at the top of the archive.  `FILE COMMAND ...` and `FILE exec -- COMMAND`
mean the same; a program that is itself called exec stands behind `--`.
"""

import signal

signal.pthread_sigmask(
    signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT}
)

import os
import sys


def main() -> None:
    """
    Run the command line, and leave at once.
    """
    from supervisor import __version__
    from supervisor.cli.exec import run
    from supervisor.core.errors import ExitCode, Problem

    words = sys.argv[2:] if sys.argv[1:2] == ["exec"] else sys.argv[1:]
    code: int
    try:
        if words == ["--version"]:
            os.write(1, f"autoexit-nginx {__version__}\n".encode())
            code = ExitCode.OK
        else:
            code = run.run_command(words, os.environ)
    except Problem as problem:
        code = problem.code
        os.write(2, "".join(f"{line}\n" for line in problem.lines).encode())
    except Exception:  # noqa: BLE001 - the documented code for a defect, with all that helps to find it
        import traceback

        traceback.print_exc()
        code = ExitCode.SOFTWARE
    os._exit(code)


if __name__ == "__main__":
    main()
