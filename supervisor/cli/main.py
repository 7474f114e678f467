"""
The command line: one word, or a command of the image's user.

Each command imports what it needs when it runs, because a health check is started every few
seconds and must not load what only the service needs.  One plain word needs no parser: argparse is
0.4 MB that would stay for the whole life of the service.
"""

import os
import sys
from collections.abc import Callable, Sequence

from supervisor import __version__
from supervisor.core.errors import ExecutableMissing, ExitCode, Problem

_SUMMARY = """\
Put the replicas of a service behind one nginx for a limited time, and end cleanly.
Settings come from the environment: `autoexit-nginx settings` lists them.
Any other command is executed as it is: `autoexit-nginx nginx -T`, `autoexit-nginx bash`."""


def main(argv: Sequence[str]) -> int:
    """
    Run one command and return its exit code.
    """
    if argv and not argv[0].startswith("-") and argv[0] not in _COMMANDS:
        return _execute(argv)
    try:
        if argv[:1] == ["exec"]:
            return _exec(argv[1:])
        if argv and argv[0] in _ASKING:
            return _flushed(_ask(*argv))
        word = "".join(argv) or "run"
        if len(argv) > 1 or word not in _COMMANDS:
            word = _parsed(argv)
        return _flushed(_COMMANDS[word][0]())
    except Problem as problem:
        for line in problem.lines:
            print(line, file=sys.stderr)
        return problem.code
    except ExecutableMissing as missing:
        print(missing, file=sys.stderr)
        return missing.code
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception:  # noqa: BLE001 - the documented code for a defect, with all that helps to find it
        import traceback

        traceback.print_exc()
        return ExitCode.SOFTWARE


def _flushed(code: int) -> int:
    """Write what a command printed while somebody can still be told that nobody reads it."""
    sys.stdout.flush()
    return code


def _parsed(argv: Sequence[str]) -> str:
    """Return the command that the words ask for; leave with 64, or with 0 where only help was."""
    import argparse
    from typing import NoReturn

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            trouble = f"cannot read the command line: {message}; see {self.prog} --help"
            print(trouble, file=sys.stderr)
            raise SystemExit(ExitCode.USAGE)

    parser = Parser(
        "autoexit-nginx", description=_SUMMARY, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for word, (_, meaning) in _COMMANDS.items():
        commands.add_parser(word, help=meaning, description=meaning)
    asked: str | None = parser.parse_args(argv).command
    return asked or "run"


def _run() -> int:
    from supervisor.daemon import start

    return start.serve(os.environ)


def _check() -> int:
    from supervisor.cli import check

    return check.run(os.environ)


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


def _exec(words: Sequence[str] = ()) -> int:
    from supervisor.cli.exec import run

    return run.run_command(words, os.environ)


def _ask(*words: str) -> int:
    from supervisor.cli import control

    return control.run(words[0], words[1:], os.environ)


def _demo() -> int:
    from supervisor.cli import demo

    return demo.run()


#: These have words of their own.
_ASKING = frozenset({"status", "extend", "stop"})

_COMMANDS: dict[str, tuple[Callable[[], int], str]] = {
    "run": (_run, "serve until the deadline (the default)"),
    "check": (_check, "test the settings and the configuration, and print what would be served"),
    "settings": (_settings, "list every setting"),
    "healthcheck": (
        _healthcheck,
        "ask a running supervisor whether nginx answers: exit code 0 or 1",
    ),
    "exec": (_exec, "run a command until the same deadline: `exec -- COMMAND ...`"),
    "status": (_ask, "show what a running supervisor does; --json, --watch"),
    "extend": (_ask, "move its deadline: `extend 2h`, `extend -30m`, `extend --until TIME`"),
    "stop": (_ask, "let it end now, as the deadline would"),
    "demo": (_demo, "show the whole thing on this machine, in under a minute"),
}


def _execute(argv: Sequence[str]) -> int:
    """Become another program, as the official nginx image would."""
    from supervisor.system import signals

    signals.unblock()
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606 - what the user of the image asked for
    except FileNotFoundError:
        code, trouble = ExitCode.NOT_FOUND, "it does not exist"
    except OSError as error:
        code, trouble = ExitCode.NOT_EXECUTABLE, f"{error.strerror}"
    words = ", ".join(_COMMANDS)
    print(
        f"cannot execute {argv[0]!r}: {trouble} (and it is none of {words}); giving up",
        file=sys.stderr,
    )
    return code
