"""
The state that nginx inherits, whatever the program itself inherited.
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

#: The variables that nginx gets.
ENVIRONMENT = {"PATH", "TZ", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"}

#: The signals that nginx itself ignores.
OF_NGINX = {signal.SIGPIPE, signal.SIGSYS}


@dataclass
class DirtyParent:
    """
    A subject started by a parent that leaves files open and signals ignored.
    """

    subject: Subject
    file: Path
    name: str = "dirty parent"

    def launch(self, home: Path, settings: Mapping[str, str]) -> Launch:
        """
        Start it from a shell.
        """
        launch = self.subject.launch(home, settings)
        line = f"exec 7<{self.file} 33<{self.file}; trap '' HUP INT QUIT TERM USR1 PIPE CHLD; "
        return replace(launch, words=("bash", "-c", line + 'exec "$@"', "bash", *launch.words))

    def offer(self, endpoints: Iterable[Endpoint]) -> bool:
        """
        Pass on to the subject.
        """
        return self.subject.offer(endpoints)


def named(mask: int) -> set[int]:
    """
    Return the signals in a mask, without the two of glibc that every spawn ignores.
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
def start_dirty(prepare: Prepare, replicas: Replicas) -> Callable[..., Supervised]:
    """
    Start the program from a parent with open files and ignored signals, with a token, and return it
    once it serves.
    """

    def start(**settings: str) -> Supervised:
        subject = prepare(*replicas("one"), NOMAD_TOKEN=SECRET, TZ="Asia/Kathmandu", **settings)
        file = subject.home / "left-open"
        file.write_text("opened by the parent")
        subject.subject = DirtyParent(subject.subject, file)
        subject.start().ready(status=200)
        eventually(lambda: len(nginx_of(subject)) > 1)
        return subject

    return start


@pytest.fixture
def invocation(start_dirty: Callable[..., Supervised], fake_nginx: FakeNginx) -> Invocation:
    """
    How nginx was started, as the kernel reports it.
    """
    start_dirty(NGINX_BINARY=str(fake_nginx))
    (only,) = fake_nginx.runs
    return only


def nginx_of(subject: Supervised) -> list[int]:
    """
    Return the pids of nginx, the master's first.
    """
    return [pid for pid in (subject.nginx_master(), *subject.nginx_workers()) if pid]


def test_P17_the_environment_is_empty(invocation: Invocation) -> None:
    """
    The environment of nginx has only TZ, PATH and limits for its allocator: no token, no setting.
    """
    assert ENVIRONMENT == set(invocation.environ)
    assert "Asia/Kathmandu" == invocation.environ["TZ"]


def test_P17_no_token_is_in_nginx_s_environment(start_dirty: Callable[..., Supervised]) -> None:
    """
    The environment of the running nginx, which is readable for others, contains no token.  The
    pattern being replaced does this too: nginx writes its title over it.
    """
    for pid in nginx_of(start_dirty()):
        assert SECRET.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_P17_no_descriptor_is_inherited(invocation: Invocation) -> None:
    """
    Its stdin is /dev/null, and no descriptor above stderr is inherited.
    """
    assert {0, 1, 2} == set(invocation.descriptors)
    assert "/dev/null" == invocation.descriptors[0]


def test_P17_the_running_nginx_holds_no_file_of_ours(
    start_dirty: Callable[..., Supervised],
) -> None:
    """
    Master and workers have only descriptors that they opened: sockets, the event queues, and the
    log of refused clients, which is the pipe of their stderr.
    """
    for pid in nginx_of(start_dirty()):
        folder = Path(f"/proc/{pid}/fd")
        # A connection of the generation poller may close between listing and reading.
        links = eventually(
            lambda at=folder: {int(entry.name): str(entry.readlink()) for entry in at.iterdir()}
        )
        assert "/dev/null" == links[0]
        others = {link for number, link in links.items() if number > 2}
        assert {link.partition(":")[0] for link in others - {links[2]}} <= {"socket", "anon_inode"}


def test_P17_no_signal_is_blocked_or_ignored(invocation: Invocation) -> None:
    """
    Every signal has its default when nginx starts, though the program blocks all of them and its
    parent ignored some.
    """
    assert (set(), set()) == (named(invocation.blocked), named(invocation.ignored))


def test_P17_the_running_nginx_takes_every_signal(start_dirty: Callable[..., Supervised]) -> None:
    """
    The master ignores only the signals that nginx ignores itself, the workers block none.  The
    pattern being replaced does this too.
    """
    master, *workers = nginx_of(start_dirty())
    for pid in (master, *workers):
        assert signals_in(pid, "SigIgn") <= OF_NGINX
    for pid in workers:
        assert set() == signals_in(pid, "SigBlk")


def test_P17_nginx_has_its_own_session(start_dirty: Callable[..., Supervised]) -> None:
    """
    Neither a terminal's signals nor a signal to the program's group reach nginx.
    """
    master, *_ = nginx_of(start_dirty())

    assert master == os.getsid(master) == os.getpgid(master)


def test_P17_the_check_inherits_the_same(
    start_dirty: Callable[..., Supervised], fake_nginx: FakeNginx
) -> None:
    """
    `nginx -t` inherits as little as nginx itself.
    """
    subject = start_dirty(NGINX_BINARY=str(fake_nginx))
    subject.write_in("conf.d", "more.conf", "map $uri $nothing { default 1; }\n")
    before = len(fake_nginx.checks)
    subject.signal(signal.SIGHUP)
    eventually(lambda: len(fake_nginx.checks) > before)

    for check in fake_nginx.checks:
        assert ENVIRONMENT == set(check.environ)
        assert {0, 1, 2} == set(check.descriptors)
        assert (set(), set()) == (named(check.blocked), named(check.ignored))


def test_P17_inherited_ignored_signals_do_not_prevent_a_stop(
    start_dirty: Callable[..., Supervised],
) -> None:
    """
    The program stops on a stop signal even if its parent ignored them, as nohup does with SIGHUP.
    """
    subject = start_dirty()
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(5)
