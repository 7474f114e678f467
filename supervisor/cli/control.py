"""
The commands for a running supervisor: `status`, `extend` and `stop`.

They run beside it, by `nomad alloc exec` or `docker exec`, and find its socket by the rule by which
it chose its folder.  The exit code is 0 on success, 1 on failure, and 64 for an invalid command
line; the reason is on stderr.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from supervisor.cli.control_client import ControlError, call
from supervisor.cli.screen import Screen
from supervisor.cli.status_table import table
from supervisor.core.durations import parse_instant, parse_span
from supervisor.core.errors import ExitCode
from supervisor.system import signals

#: A negative span, which argparse would treat as an option.
_NEGATIVE = re.compile(r"-[0-9]")

#: Default interval of `--watch`, in seconds.
_INTERVAL = 2.0


def run(command: str, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """
    Run one of the commands, and return its exit code.
    """
    # A leading space prevents argparse from reading the -30m of `extend -30m` as an option.
    escaped = [f" {text}" if _NEGATIVE.match(text) else text for text in arguments]
    options = _parser(command).parse_args(escaped)
    signals.unblock()
    try:
        if command == "status":
            return _status(environ, options)
        if command == "stop":
            return _post(environ, "/stop", _only_balancer(options))
        fields = {"by": options.span.strip()} if options.span else {"until": options.until}
        return _post(environ, "/deadline", {**fields, **_only_balancer(options)})
    except ControlError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return ExitCode.OK


def _status(environ: Mapping[str, str], options: argparse.Namespace) -> int:
    watches = options.watch is not None
    screen = Screen(1) if watches and not options.json and sys.stdout.isatty() else None
    try:
        while True:
            status, text = call(environ, "GET", "/status")
            if status != 200:
                raise ControlError(f"cannot show the status: {text.strip()}")
            output = text.strip() if options.json else table(json.loads(text))
            if screen is None:
                print(output, flush=True)
            else:
                screen.draw(output)
            if not watches:
                return ExitCode.OK
            _sleep(options.watch)
    finally:
        if screen is not None:
            screen.leave()


def _only_balancer(options: argparse.Namespace) -> dict[str, bool]:
    return {"only_balancer": True} if options.only_balancer else {}


def _post(environ: Mapping[str, str], path: str, fields: Mapping[str, str | bool]) -> int:
    _, text = call(environ, "POST", path, json.dumps(fields).encode())
    try:
        response: dict[str, Any] = json.loads(text)
    except ValueError:
        response = {"accepted": False, "text": text.strip()}
    is_accepted = response.get("accepted") is True
    print(response.get("text"), file=sys.stdout if is_accepted else sys.stderr)
    return ExitCode.OK if is_accepted else 1


def _sleep(seconds: float) -> None:
    import time

    time.sleep(seconds)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        text = f"cannot read the command line: {message}; see {self.prog} --help"
        print(text, file=sys.stderr)
        raise SystemExit(ExitCode.USAGE)


def _parser(command: str) -> argparse.ArgumentParser:
    parser = _Parser(f"autoexit-nginx {command}")
    if command == "status":
        parser.add_argument("--json", action="store_true", help="print the whole status as JSON")
        parser.add_argument(
            "--watch",
            nargs="?",
            const=_INTERVAL,
            type=_parse_interval,
            metavar="SECONDS",
            help=f"repeat every {_INTERVAL:g} s, or at this interval",
        )
    if command == "extend":
        target = parser.add_mutually_exclusive_group(required=True)
        target.add_argument(
            "span",
            nargs="?",
            type=_check_span,
            help="extend by this span: 2h, 90s; or shorten: -30m",
        )
        target.add_argument(
            "--until",
            type=_check_instant,
            metavar="TIME",
            help="2027-01-31T18:00Z, or epoch seconds",
        )
    if command != "status":
        parser.add_argument(
            "--only-balancer",
            action="store_true",
            help="leave the job's other tasks, which end at their own deadline",
        )
    return parser


def _parse_interval(text: str) -> float:
    try:
        seconds = parse_span(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, not {text.strip()!r}") from None
    if not seconds:
        raise argparse.ArgumentTypeError(f"expected a duration longer than 0, not {text.strip()!r}")
    return seconds


def _check_span(text: str) -> str:
    try:
        seconds = parse_span(text.strip().removeprefix("-").removeprefix("+"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, not {text.strip()!r}") from None
    if not seconds:
        raise argparse.ArgumentTypeError(f"expected a duration other than 0, not {text.strip()!r}")
    return text


def _check_instant(text: str) -> str:
    try:
        parse_instant(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}, not {text.strip()!r}") from None
    return text
