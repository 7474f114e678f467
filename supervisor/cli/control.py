"""
The commands for a supervisor that runs: what is it doing, give it more time, end it.

They are started beside it, by `nomad alloc exec` or `docker exec`, and find its socket by the rule
by which it chose the folder.  The exit code is 0 where it was done, 1 where it was not, and 64 for
a wrong command line; why not is one line on stderr.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from supervisor.cli.control_client import ControlError, call
from supervisor.cli.status_table import table
from supervisor.core.durations import parse_instant, parse_span
from supervisor.core.errors import ExitCode
from supervisor.system import signals

#: What argparse would take for an option.
_NEGATIVE = re.compile(r"-[0-9]")

#: Seconds between two looks of `--watch`.
_EVERY = 2.0

_CLEAR = "\x1b[H\x1b[2J"


def run(word: str, words: Sequence[str], environ: Mapping[str, str]) -> int:
    """
    Run one of the commands, and return its exit code.
    """
    # `extend -30m`: what looks like an option is none
    told = [f" {each}" if _NEGATIVE.match(each) else each for each in words]
    options = _parser(word).parse_args(told)
    signals.unblock()
    try:
        if word == "status":
            return _status(environ, options)
        if word == "stop":
            return _ask(environ, "/stop", {})
        wish = {"by": options.span.strip()} if options.span else {"until": options.until}
        return _ask(environ, "/deadline", wish)
    except ControlError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return ExitCode.OK


def _status(environ: Mapping[str, str], options: argparse.Namespace) -> int:
    while True:
        status, text = call(environ, "GET", "/status")
        if status != 200:
            print(f"cannot tell the status: {text.strip()}", file=sys.stderr)
            return 1
        shown = text.strip() if options.json else table(json.loads(text))
        clear = _CLEAR if options.watch is not None and sys.stdout.isatty() else ""
        print(f"{clear}{shown}", flush=True)
        if options.watch is None:
            return ExitCode.OK
        _pause(options.watch)


def _ask(environ: Mapping[str, str], path: str, wish: Mapping[str, str]) -> int:
    _, text = call(environ, "POST", path, json.dumps(wish).encode())
    try:
        answer: dict[str, Any] = json.loads(text)
    except ValueError:
        answer = {"accepted": False, "text": text.strip()}
    done = answer.get("accepted") is True
    print(answer.get("text"), file=sys.stdout if done else sys.stderr)
    return ExitCode.OK if done else 1


def _pause(seconds: float) -> None:
    import time

    time.sleep(seconds)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        trouble = f"cannot read the command line: {message}; see {self.prog} --help"
        print(trouble, file=sys.stderr)
        raise SystemExit(ExitCode.USAGE)


def _parser(word: str) -> argparse.ArgumentParser:
    parser = _Parser(f"autoexit-nginx {word}")
    if word == "status":
        parser.add_argument("--json", action="store_true", help="for programs: docs/operating.md")
        parser.add_argument(
            "--watch",
            nargs="?",
            const=_EVERY,
            type=_pace,
            metavar="SECONDS",
            help=f"look again and again, every {_EVERY:g} s",
        )
    if word == "extend":
        until = parser.add_mutually_exclusive_group(required=True)
        until.add_argument(
            "span", nargs="?", type=_signed, help="so much longer: 2h, 90s; or shorter: -30m"
        )
        until.add_argument(
            "--until", type=_instant, metavar="TIME", help="end at 2027-01-31T18:00Z, or epoch"
        )
    return parser


def _pace(text: str) -> float:
    try:
        seconds = parse_span(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not seconds:
        raise argparse.ArgumentTypeError("expected a duration longer than 0")
    return seconds


def _signed(text: str) -> str:
    try:
        seconds = parse_span(text.strip().removeprefix("-").removeprefix("+"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not seconds:
        raise argparse.ArgumentTypeError("expected a duration other than 0")
    return text


def _instant(text: str) -> str:
    try:
        parse_instant(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
