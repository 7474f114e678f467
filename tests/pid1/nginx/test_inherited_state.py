"""
What nginx is born with, whatever the program itself was started with.
"""

import os
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.fake_nginx import FakeNginx, Invocation
from tests.support.fake_nomad import Endpoint
from tests.support.replica import Replica
from tests.support.subjects import Launch, Subject
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Replicas = Callable[..., list[Replica]]
Prepare = Callable[..., Supervised]

SECRET = "s3cret-7c21"

#: What nginx itself ignores, whoever started it.
OF_NGINX = {signal.SIGPIPE, signal.SIGSYS}


@dataclass
class Careless:
    """
    A subject started by a parent that leaves files open and signals ignored.
    """

    subject: Subject
    file: Path
    name: str = "careless"

    def launch(self, home: Path, settings: Mapping[str, str]) -> Launch:
        """
        Start it from a shell.
        """
        launch = self.subject.launch(home, settings)
        line = f"exec 7<{self.file} 33<{self.file}; trap '' HUP INT QUIT TERM USR1 PIPE CHLD; "
        return replace(launch, words=("bash", "-c", line + 'exec "$@"', "bash", *launch.words))

    def offer(self, endpoints: Iterable[Endpoint]) -> bool:
        """
        Leave it to the subject.
        """
        return self.subject.offer(endpoints)


def named(mask: int) -> set[int]:
    """
    Return the signals in a mask; not the two that are glibc's own, which every spawn ignores.
    """
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}


def signals_in(pid: int, mask: str) -> set[int]:
    """
    Return the signals of a mask of a process, as the kernel has it.
    """
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == mask:
            return named(int(value, 16))
    raise AssertionError(mask)


@pytest.fixture
def born(prepare: Prepare, replicas: Replicas) -> Callable[..., Supervised]:
    """
    Start a program born into a mess, with a token, and return it once it serves.
    """

    def start(**settings: str) -> Supervised:
        subject = prepare(*replicas("one"), NOMAD_TOKEN=SECRET, TZ="Asia/Kathmandu", **settings)
        note = subject.home / "left-open"
        note.write_text("for the parent's eyes only")
        subject.subject = Careless(subject.subject, note)
        subject.start().ready(status=200)
        eventually(lambda: len(nginx_of(subject)) > 1)
        return subject

    return start


@pytest.fixture
def birth(born: Callable[..., Supervised], fake_nginx: FakeNginx) -> Invocation:
    """
    How the kernel saw nginx when it was run.
    """
    born(NGINX_BINARY=str(fake_nginx))
    (only,) = fake_nginx.runs
    return only


def nginx_of(subject: Supervised) -> list[int]:
    """
    Return the pids of nginx, the master's first.
    """
    return [pid for pid in (subject.nginx_master(), *subject.nginx_workers()) if pid]


def test_P17_the_environment_is_empty(birth: Invocation) -> None:
    """
    TZ and PATH and nothing else are given to nginx: no token, no setting.
    """
    assert {"PATH", "TZ"} == set(birth.environ)
    assert "Asia/Kathmandu" == birth.environ["TZ"]


def test_P17_no_token_is_in_nginx_s_memory_of_its_start(born: Callable[..., Supervised]) -> None:
    """
    The environment of the running nginx, which others may read, holds no token.  The pattern being
    replaced does this too: nginx writes its title over it.
    """
    for pid in nginx_of(born()):
        assert SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_P17_no_descriptor_is_inherited(birth: Invocation) -> None:
    """
    Its stdin is /dev/null, nothing beyond stderr is open: neither ours nor our parent's.
    """
    assert {0, 1, 2} == set(birth.descriptors)
    assert "/dev/null" == birth.descriptors[0]


def test_P17_the_running_nginx_holds_no_file_of_ours(born: Callable[..., Supervised]) -> None:
    """
    Master and workers hold what they opened themselves: beyond stderr sockets, what waits for
    them, and the access log, which is none where nobody asked for one.
    """
    for pid in nginx_of(born()):
        folder = Path(f"/proc/{pid}/fd")
        # A connection of the looker may close between the list and the look.
        links = eventually(
            lambda at=folder: {int(entry.name): str(entry.readlink()) for entry in at.iterdir()}
        )
        assert "/dev/null" == links[0]
        others = {link.partition(":")[0] for number, link in links.items() if number > 2}
        assert others <= {"socket", "anon_inode", "/dev/null"}


def test_P17_no_signal_is_blocked_or_ignored(birth: Invocation) -> None:
    """
    Every signal is at its default when nginx is born, though the program blocks all of them and
    its parent ignored some.
    """
    assert (set(), set()) == (named(birth.blocked), named(birth.ignored))


def test_P17_the_running_nginx_takes_every_signal(born: Callable[..., Supervised]) -> None:
    """
    The master ignores what nginx itself ignores, its workers block nothing.  The pattern being
    replaced does this too.
    """
    master, *workers = nginx_of(born())
    for pid in (master, *workers):
        assert signals_in(pid, "SigIgn") <= OF_NGINX
    for pid in workers:
        assert set() == signals_in(pid, "SigBlk")


def test_P17_nginx_has_a_session_of_its_own(born: Callable[..., Supervised]) -> None:
    """
    Neither a terminal's signals nor a signal to the program's group reach nginx.
    """
    master, *_ = nginx_of(born())

    assert master == os.getsid(master) == os.getpgid(master)


def test_P17_the_check_is_born_the_same(
    born: Callable[..., Supervised], fake_nginx: FakeNginx
) -> None:
    """
    `nginx -t` is started as cleanly as nginx itself.
    """
    subject = born(NGINX_BINARY=str(fake_nginx))
    subject.write_in("conf.d", "more.conf", "map $uri $nothing { default 1; }\n")
    before = len(fake_nginx.checks)
    subject.signal(signal.SIGHUP)
    eventually(lambda: len(fake_nginx.checks) > before)

    for check in fake_nginx.checks:
        assert {"PATH", "TZ"} == set(check.environ)
        assert {0, 1, 2} == set(check.descriptors)
        assert (set(), set()) == (named(check.blocked), named(check.ignored))


def test_P17_inherited_ignored_signals_do_not_make_it_deaf(
    born: Callable[..., Supervised],
) -> None:
    """
    A parent that ignored the stop signals, as nohup does with one, cannot keep it from stopping.
    """
    subject = born()
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(5)
