"""
The exit codes of a start that cannot work, and the line that says what is wrong.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.fake_nomad import Endpoint
from tests.support.replica import Replica
from tests.support.subjects import Launch, Subject
from tests.support.supervised import Supervised

Replicas = Callable[..., list[Replica]]
Prepare = Callable[..., Supervised]


@dataclass
class Worded:
    """
    A subject whose command line is changed.
    """

    subject: Subject
    words: tuple[str, ...]
    instead: bool = False
    name: str = "worded"

    def launch(self, home: Path, settings: Mapping[str, str]) -> Launch:
        """
        Add the words, or put them in the last one's place.
        """
        launch = self.subject.launch(home, settings)
        kept = launch.words[:-1] if self.instead else launch.words
        return replace(launch, words=(*kept, *self.words))

    def offer(self, endpoints: Iterable[Endpoint]) -> bool:
        """
        Leave it to the subject.
        """
        return self.subject.offer(endpoints)


def ended(subject: Supervised, words: tuple[str, ...] = (), *, instead: bool = False) -> int:
    """
    Run it to its end and return the code.
    """
    subject.subject = Worded(subject.subject, words, instead)
    return subject.start().wait(10)


def test_P20_no_nginx(prepare: Prepare) -> None:
    """
    Where there is no nginx the code is 127, and one line says which one was looked for.
    """
    subject = prepare(NGINX_BINARY="/nowhere/nginx")

    assert 127 == ended(subject)
    (line,) = subject.errors
    assert "cannot start '/nowhere/nginx': it does not exist; giving up" == line


@pytest.mark.parametrize("mode,content", [(0o644, "#!/bin/sh\n"), (0o755, "\x7f no program")])
def test_P20_an_nginx_that_cannot_be_executed(
    prepare: Prepare, tmp_path: Path, mode: int, content: str
) -> None:
    """
    Where nginx may not be executed, or is no program, the code is 126, and one line says so.
    """
    path = tmp_path / "nginx"
    path.write_text(content)
    path.chmod(mode)
    subject = prepare(NGINX_BINARY=str(path))

    assert 126 == ended(subject)
    (line,) = subject.errors
    assert f"cannot start '{path}': it is not executable; giving up" == line


@pytest.mark.parametrize("word,code", [("no-such-command", 127), ("/etc/hostname", 126)])
def test_P20_a_command_that_cannot_be_executed(prepare: Prepare, word: str, code: int) -> None:
    """
    A word that is no command of ours is executed; where that fails the code is 127 or 126, too.
    """
    subject = prepare()

    assert code == ended(subject, (word,), instead=True)
    (line,) = subject.errors
    assert line.startswith(f"cannot execute '{word}': ")


@pytest.mark.parametrize("words", [("--no-such-option",), ("and", "more")])
def test_P20_a_wrong_command_line(prepare: Prepare, words: tuple[str, ...]) -> None:
    """
    A command line that nobody understands is 64, and one line says what was not understood.
    """
    subject = prepare()

    assert 64 == ended(subject, words)
    (line,) = subject.errors
    assert line.startswith("cannot read the command line: ")
    assert words[0] in line
    assert [] == subject.logs


def test_P20_a_wrong_setting(prepare: Prepare) -> None:
    """
    A setting that means nothing is 78, and one line names it, its value and what was expected.
    """
    subject = prepare(TTL="soon")

    assert 78 == ended(subject)
    (line,) = subject.errors
    assert line.startswith("TTL='soon': ")
    assert [] == subject.logs


def test_P20_all_wrong_settings_at_once(prepare: Prepare) -> None:
    """
    Every mistake is told in a line of its own, so that a job need not be deployed for each.
    """
    subject = prepare(TTL="soon", LISTEN_PORT="66000", LB_METHOD="best", SERVICE_NAME=None)

    assert 78 == ended(subject)
    assert ["LB_METHOD=", "LISTEN_PORT=", "SERVICE_NAME, ", "TTL="] == sorted(
        line[: len(start)]
        for line in subject.errors
        for start in ("LB_METHOD=", "LISTEN_PORT=", "SERVICE_NAME, ", "TTL=")
        if line.startswith(start)
    )
    assert 4 == len(subject.errors)


def test_P20_a_port_that_is_taken(prepare: Prepare, replicas: Replicas) -> None:
    """
    Where somebody else has the port the code is 69, and nginx's own line about it is repeated.
    """
    one, squatter = replicas("one", "squatter")
    subject = prepare(one, LISTEN_PORT=str(squatter.port))

    assert 69 == ended(subject)
    assert "ended" == subject.logs[-1]["event"]
    assert 69 == subject.logs[-1]["code"]
    assert "before it was ready" in subject.logs[-1]["reason"]
    assert "Address already in use" in subject.logs[-1]["message"]
    assert subject.ended is not None
    assert (69, subject.logs[-1]["message"]) == (subject.ended["code"], subject.ended["message"])
    assert [] == subject.errors
