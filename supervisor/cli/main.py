"""
The command line: a command of this program, or any other program of the image.

Each command imports its modules when it runs, because a health check starts every few seconds and
must not load the service's modules.  A single word is handled without argparse, which would keep
0.4 MB for the whole lifetime of the service.
"""

import os
import sys
from collections.abc import Callable, Sequence

from supervisor import __version__
from supervisor.core.errors import ExecutableMissing, ExitCode, Problem

_SUMMARY = """\
Put the replicas of a service behind one nginx for a limited time, and exit cleanly.
Settings come from the environment: `autoexit-nginx settings` lists them.
Any other command is executed unchanged: `autoexit-nginx nginx -T`, `autoexit-nginx bash`."""


def main(argv: Sequence[str]) -> int:
    """
    Run one command and return its exit code.
    """
    if argv and not argv[0].startswith("-") and argv[0] not in _COMMANDS:
        return _execute(argv)
    try:
        if argv[:1] == ["exec"]:
            return _exec(argv[1:])
        if argv and argv[0] in _CONTROL_COMMANDS:
            return _flush_stdout(_control(*argv))
        name = "".join(argv) or "run"
        is_plain = len(argv) <= 1 and name in _COMMANDS
        return _flush_stdout((_COMMANDS[name][0] if is_plain else _parse(argv))())
    except Problem as problem:
        for line in problem.lines:
            print(line, file=sys.stderr)
        return problem.code
    except ExecutableMissing as missing:
        print(missing, file=sys.stderr)
        return missing.code
    except BrokenPipeError:  # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception:  # noqa: BLE001 - an internal error has its own exit code
        import traceback

        traceback.print_exc()
        return ExitCode.SOFTWARE


def _flush_stdout(code: int) -> int:
    """Flush stdout while a BrokenPipeError can still be handled, and return the code."""
    sys.stdout.flush()
    return code


def _parse(argv: Sequence[str]) -> Callable[[], int]:
    """Return the command; exit with 64 on an error, or with 0 after help."""
    import argparse
    from functools import partial
    from typing import NoReturn

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            text = f"cannot read the command line: {message}; see {self.prog} --help"
            print(text, file=sys.stderr)
            raise SystemExit(ExitCode.USAGE)

    parser = Parser(
        "autoexit-nginx", description=_SUMMARY, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, (_, meaning) in _COMMANDS.items():
        added = commands.add_parser(name, help=meaning, description=meaning)
        if name == "check":
            added.add_argument(
                "--offline", action="store_true", help="test the files only, without discovery"
            )
    options = parser.parse_args(argv)
    if options.command == "check":
        return partial(_check, offline=options.offline)
    return _COMMANDS[options.command or "run"][0]


def _run() -> int:
    from supervisor.daemon import start

    return start.serve(os.environ)


def _check(*, offline: bool = False) -> int:
    from supervisor.cli import check

    return check.run(os.environ, offline=offline)


def _settings() -> int:
    from supervisor.core.config import load

    rows = [("variable", "default", "meaning"), *load.table()]
    width = max(len(name) for name, _, _ in rows)
    for name, default, meaning in rows:
        print(f"{name:<{width}}  {meaning.replace('`', '')}")
        if default and name != "variable":
            print(f"{'':<{width}}  default: {default.replace('`', '')}")
    return ExitCode.OK


def _healthcheck() -> int:
    from supervisor.cli import healthcheck

    return healthcheck.run(os.environ)


def _exec(arguments: Sequence[str] = ()) -> int:
    from supervisor.cli.exec import run

    return run.run_command(arguments, os.environ)


def _control(*argv: str) -> int:
    from supervisor.cli import control

    return control.run(argv[0], argv[1:], os.environ)


def _demo() -> int:
    from supervisor.cli import demo

    return demo.run()


#: These commands have arguments of their own.
_CONTROL_COMMANDS = frozenset({"status", "extend", "stop"})

_COMMANDS: dict[str, tuple[Callable[[], int], str]] = {
    "run": (_run, "serve until the deadline (the default)"),
    "check": (
        _check,
        "test all that a start would do, and print what would be served; --offline: files only",
    ),
    "settings": (_settings, "list all settings"),
    "healthcheck": (
        _healthcheck,
        "check that a running supervisor is healthy: exit code 0 or 1",
    ),
    "exec": (_exec, "run any command with the same deadline: `exec -- COMMAND ...`"),
    "status": (_control, "show the status of a running supervisor; --json, --watch"),
    "extend": (_control, "move its deadline: `extend 2h`, `extend -30m`, `extend --until TIME`"),
    "stop": (_control, "shut it down now, as at the deadline"),
    "demo": (_demo, "run a demonstration on this machine, in under a minute"),
}


def _execute(argv: Sequence[str]) -> int:
    """Replace this process with another program, as the official nginx image does."""
    from supervisor.system import signals

    signals.unblock()
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606 - requested by the user of the image
    except FileNotFoundError:
        code, reason = ExitCode.NOT_FOUND, "it does not exist"
    except OSError as error:
        code, reason = ExitCode.NOT_EXECUTABLE, f"{error.strerror}"
    commands = ", ".join(_COMMANDS)
    print(
        f"cannot execute {argv[0]!r}: {reason} (and it is not one of {commands}); giving up",
        file=sys.stderr,
    )
    return code
