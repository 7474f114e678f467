"""
The exit codes of starts that cannot work, and the line with the reason.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.fake_nginx import FakeNginx
from tests.support.fake_nomad import Endpoint
from tests.support.replica import Replica
from tests.support.subjects import Launch, Subject
from tests.support.supervised import Supervised

Replicas = Callable[..., list[Replica]]
Prepare = Callable[..., Supervised]


@dataclass
class WithArguments:
    """
    A subject with a changed command line.
    """

    subject: Subject
    words: tuple[str, ...]
    instead: bool = False
    name: str = "with arguments"

    def launch(self, home: Path, settings: Mapping[str, str]) -> Launch:
        """
        Append the arguments, or replace the last one.
        """
        launch = self.subject.launch(home, settings)
        kept = launch.words[:-1] if self.instead else launch.words
        return replace(launch, words=(*kept, *self.words))

    def offer(self, endpoints: Iterable[Endpoint]) -> bool:
        """
        Pass on to the subject.
        """
        return self.subject.offer(endpoints)


def exit_code(subject: Supervised, words: tuple[str, ...] = (), *, instead: bool = False) -> int:
    """
    Run it until it exits and return the code.
    """
    subject.subject = WithArguments(subject.subject, words, instead)
    return subject.start().wait(10)


def test_P20_no_nginx(prepare: Prepare) -> None:
    """
    Without nginx the exit code is 127, and one line names the missing path.
    """
    subject = prepare(NGINX_BINARY="/nowhere/nginx")

    assert 127 == exit_code(subject)
    (line,) = subject.errors
    assert line.startswith("cannot start '/nowhere/nginx': it does not exist; install nginx")


@pytest.mark.parametrize("mode,content", [(0o644, "#!/bin/sh\n"), (0o755, "\x7f no program")])
def test_P20_an_nginx_that_cannot_be_executed(
    prepare: Prepare, tmp_path: Path, mode: int, content: str
) -> None:
    """
    If nginx is not executable, the exit code is 126, and one line says so.
    """
    path = tmp_path / "nginx"
    path.write_text(content)
    path.chmod(mode)
    subject = prepare(NGINX_BINARY=str(path))

    assert 126 == exit_code(subject)
    (line,) = subject.errors
    assert line.startswith(f"cannot start '{path}': it is not executable; install nginx")


@pytest.mark.parametrize("word,code", [("no-such-command", 127), ("/etc/hostname", 126)])
def test_P20_a_command_that_cannot_be_executed(prepare: Prepare, word: str, code: int) -> None:
    """
    An argument that is not a subcommand is executed; if that fails the exit code is 127 or 126.
    """
    subject = prepare()

    assert code == exit_code(subject, (word,), instead=True)
    (line,) = subject.errors
    assert line.startswith(f"cannot execute '{word}': ")


@pytest.mark.parametrize("words", [("--no-such-option",), ("and", "more")])
def test_P20_a_wrong_command_line(prepare: Prepare, words: tuple[str, ...]) -> None:
    """
    A wrong command line leads to exit code 64 and one line that names the wrong argument.
    """
    subject = prepare()

    assert 64 == exit_code(subject, words)
    (line,) = subject.errors
    assert line.startswith("cannot read the command line: ")
    assert words[0] in line
    assert [] == subject.logs


def test_P20_an_invalid_setting(prepare: Prepare) -> None:
    """
    An invalid setting leads to exit code 78 and one line with its name, value and expected form.
    """
    subject = prepare(TTL="soon")

    assert 78 == exit_code(subject)
    (line,) = subject.errors
    assert line.startswith("TTL='soon': ")
    assert [] == subject.logs


def test_P20_all_invalid_settings_are_reported(prepare: Prepare) -> None:
    """
    Each invalid setting is reported in a separate line, so that one deployment shows all.
    """
    subject = prepare(TTL="soon", LISTEN_PORT="66000", LB_METHOD="best", SERVICE_NAME=None)

    assert 78 == exit_code(subject)
    assert ["LB_METHOD=", "LISTEN_PORT=", "SERVICE_NAME, ", "TTL="] == sorted(
        line[: len(start)]
        for line in subject.errors
        for start in ("LB_METHOD=", "LISTEN_PORT=", "SERVICE_NAME, ", "TTL=")
        if line.startswith(start)
    )
    assert 4 == len(subject.errors)


def test_P20_a_port_that_is_taken(prepare: Prepare, replicas: Replicas) -> None:
    """
    If the port stays in use the exit code is 69 after START_TIMEOUT, and nginx's own message is
    repeated.
    """
    one, squatter = replicas("one", "squatter")
    subject = prepare(one, LISTEN_PORT=str(squatter.port), START_TIMEOUT="4s")

    assert 69 == exit_code(subject)
    assert subject.lasted < 4 + 2
    assert 1 == len(subject.log_lines("nginx.port_busy"))
    assert "ended" == subject.logs[-1]["event"]
    assert 69 == subject.logs[-1]["code"]
    assert "before it was ready" in subject.logs[-1]["reason"]
    assert "Address already in use" in subject.logs[-1]["message"]
    assert subject.ended is not None
    assert (69, subject.logs[-1]["message"]) == (subject.ended["code"], subject.ended["message"])
    (line,) = subject.errors
    assert line.startswith("cannot serve: nginx exited with code 1 before it was ready: bind() to ")
    assert "Address already in use); stop the process that listens there" in line
    assert line.endswith("or set another LISTEN_PORT; giving up")


def test_P20_a_file_that_nginx_refuses(prepare: Prepare) -> None:
    """
    A broken file of the operator leads to 78, and stderr has nginx's message in one line.
    """
    subject = prepare()
    subject.write_in("conf.d", "mine.conf", "no_such_directive on;\n")

    assert 78 == exit_code(subject)
    (line,) = subject.errors
    assert line.startswith('cannot apply the first configuration: unknown directive "no_such_')
    assert "conf.d/mine.conf:1" in line


def test_P20_an_nginx_that_never_answers(prepare: Prepare, fake_nginx: FakeNginx) -> None:
    """
    An nginx that does not respond in time leads to 69 and a line on stderr with the time.
    """
    fake_nginx.set(run="fake", answers=False)
    subject = prepare(NGINX_BINARY=str(fake_nginx), START_TIMEOUT="1s")

    assert 69 == exit_code(subject)
    assert ["cannot serve: nginx did not respond within 1s; giving up"] == subject.errors
