"""
The tables of docs/troubleshooting.md, and scenarios that provoke their rows.

A row quotes what is reported, after its place: `log`, `status`, `stderr`, `check` (what the command
prints) or `client`.  A scenario provokes the symptom with real parts; each quote must then be found
there, and each command of the row must run.
"""

import ast
import json
import re
import shlex
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol, Self

import pytest

from tests.support.checkout import CHECKOUT
from tests.support.fake_nomad import FakeNomad
from tests.support.listening import Listener
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

PAGE = CHECKOUT / "docs" / "troubleshooting.md"

_HEAD = "| symptom | reported | next step |"
_SPAN = r"(?:``.+?``|`[^`]+`)"
_QUOTE = re.compile(rf"\b(log|status|stderr|check|client) ({_SPAN}(?: {_SPAN})*)")

#: The exit codes of a command that could not be run.
_NOT_RUN = frozenset({64, 126, 127})

#: Commands of a row that can be run without Nomad's and Docker's own.
_RUNNABLE = ("autoexit-nginx ", "curl ", "ss ")


@dataclass(frozen=True, slots=True)
class Quote:
    """
    Texts that one line of a place contains; the first one of the log is the event.
    """

    place: str
    texts: tuple[str, ...]

    def is_in(self, line: str) -> bool:
        """
        Return whether a line contains all texts; `…` stands for anything.
        """
        return all(_pattern(text).search(line) for text in self.texts)


@dataclass(frozen=True, slots=True)
class Row:
    """
    A row of the page.
    """

    symptom: str
    quotes: tuple[Quote, ...]
    commands: tuple[str, ...]


class Observed(Protocol):
    """
    A program in trouble, as a person sees it.
    """

    def lines(self, place: str) -> list[str]:
        """
        Return the lines of a place so far.
        """
        ...

    def run(self, command: str) -> int:
        """
        Run a command of the page beside the program, and return its exit code.
        """
        ...


@cache
def rows() -> dict[str, Row]:
    """
    Return the rows of all tables by symptom.
    """
    found: dict[str, Row] = {}
    is_table = False
    for line in PAGE.read_text().splitlines():
        if line == _HEAD:
            is_table = True
        elif not line.startswith("|"):
            is_table = False
        elif is_table and not line.startswith("|---"):
            symptom, reported, step = (cell.strip() for cell in line.strip("|").split(" | "))
            quotes = tuple(
                Quote(place, tuple(map(_bare, re.findall(_SPAN, texts))))
                for place, texts in _QUOTE.findall(reported)
            )
            commands = [each for each in map(_bare, re.findall(_SPAN, step)) if _is_command(each)]
            assert symptom not in found, f"two rows for {symptom!r}"
            found[symptom] = Row(symptom, quotes, tuple(commands))
    return found


def _bare(span: str) -> str:
    return span.strip("`") if not span.startswith("``") else span[2:-2].strip()


def _is_command(text: str) -> bool:
    return text.startswith(_RUNNABLE)


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*?".join(map(re.escape, text.split("…"))))


@dataclass(slots=True)
class Stage:
    """
    Real parts for one scenario, all of them closed at its end.
    """

    stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def replica(self, name: str = "one") -> Replica:
        """
        Start a replica.
        """
        return self.stack.enter_context(Replica(name))

    def server(
        self,
        serve: Callable[[socket.socket], None],
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> str:
        """
        Start a server of another kind, and return its address as an endpoint.
        """
        listener = Listener(("127.0.0.1", 0), serve, tls)
        listener.open()
        self.stack.callback(listener.close)
        assert isinstance(listener.address, tuple)
        return f"{listener.address[0]}:{listener.address[1]}"

    def nomad(self, **options: Any) -> FakeNomad:
        """
        Start a registry.
        """
        return self.stack.enter_context(FakeNomad(**options))

    def prepare(self, nomad: FakeNomad | None = None, **settings: Any) -> Supervised:
        """
        Prepare a program, not as PID 1 unless `pid1` is given.
        """
        subject = Supervised(nomad, **{"pid1": False, "START_WAIT": "5s", **settings})
        self.stack.callback(subject.close)
        return subject

    def start(self, nomad: FakeNomad | None = None, **settings: Any) -> "Seen":
        """
        Start a program.
        """
        return Seen(self.prepare(nomad, **settings).start())


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What a person sees of a program of this checkout.
    """

    subject: Supervised

    def lines(self, place: str) -> list[str]:
        """
        Return the lines of a place so far.
        """
        if place == "log":
            return [as_text(line) for line in self.subject.logs]
        if place == "stderr":
            return [*self.subject.errors]
        if place == "client":
            answer = self.subject.get()
            return [f"{answer.status} {answer.text}"]
        done = self._call(f"autoexit-nginx {place}")
        return [*done.stdout.splitlines(), *done.stderr.splitlines()]

    def run(self, command: str) -> int:
        """
        Run a command of the page beside the program, and return its exit code.
        """
        addresses = [endpoint for endpoint in self._endpoints() if endpoint]
        return self._call(command.replace("ADDRESS:PORT", next(iter(addresses), ""))).returncode

    def _endpoints(self) -> list[str]:
        return str(self.subject.environ.get("ENDPOINTS", "")).split(",")

    def _call(self, command: str) -> "subprocess.CompletedProcess[str]":
        words = shlex.split(command)
        if words[0] == "autoexit-nginx":
            words[:1] = [sys.executable, "-m", "supervisor"]
        environ = self.subject.environ
        return subprocess.run(
            words,
            cwd=CHECKOUT,
            env=dict(environ),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )


def as_text(line: Mapping[str, object]) -> str:
    """
    Return a log line as it is, and its values without JSON's escapes, which a page does not have.
    """
    values = [value for value in line.values() if isinstance(value, str)]
    return " ".join([json.dumps(line), *values])


Scenario = Callable[[Stage], Observed]


class Scenarios:
    """
    The scenarios of a module: `@scenarios.shows("a symptom")`.
    """

    def __init__(self) -> None:
        self._all: dict[str, tuple[Scenario, bool]] = {}

    def shows(self, symptom: str, *, slow: bool = False) -> Callable[[Scenario], Scenario]:
        """
        Register the scenario of a row; `slow`: `make test` leaves it to `make test-all`.
        """

        def register(scenario: Scenario) -> Scenario:
            self._all[symptom] = scenario, slow
            return scenario

        return register

    def params(self) -> list[Any]:
        """
        Return the cases for `pytest.mark.parametrize("symptom, scenario", ...)`.
        """
        return [
            pytest.param(
                symptom,
                scenario,
                marks=[pytest.mark.slow] if is_slow else [],
                id=scenario.__name__,
            )
            for symptom, (scenario, is_slow) in self._all.items()
        ]


def verify(symptom: str, observed: Observed, within: float = 45.0) -> None:
    """
    Find every quote of a row in its place, and run the commands of its next step.
    """
    row = rows()[symptom]
    for quote in row.quotes:
        eventually(partial(_is_reported, quote, observed), within, 0.05, f"{symptom}: {quote}")
    for command in row.commands:
        code = observed.run(command)
        assert code not in _NOT_RUN, f"{command}: {code}"


def _is_reported(quote: Quote, observed: Observed) -> bool:
    lines = observed.lines(quote.place)
    if any(map(quote.is_in, lines)):
        return True
    raise LookupError("\n".join(lines))  # shown if it never is


def shown() -> list[str]:
    """
    Return the symptoms of all scenarios in the sources of the tests, of every tier.
    """
    found = []
    for path in sorted((CHECKOUT / "tests").rglob("test_*.py")):
        source = path.read_text()
        if ".shows(" in source:
            found += list(_symptoms(ast.parse(source)))
    return found


def _symptoms(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr == "shows" and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value)


def in_folder(path: Path, text: str) -> Path:
    """
    Write a file and its folders, executable for scripts, and return it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path
