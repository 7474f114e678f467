"""
The access log under load: a stalled stdout, a full disk, thousands of requests.
"""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.access_log import access_lines, start_with_access_log
from tests.support.fake_nomad import FakeNomad
from tests.support.namespaces import why_no_unshare
from tests.support.nginxes import BOTH, current
from tests.support.pipelining import send_pipelined
from tests.support.replica import Replica
from tests.support.subjects import Ours
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Supervise = Callable[..., Supervised]
Replicas = Callable[..., list[Replica]]

nginxes = pytest.mark.parametrize("nginx", BOTH)
RUN = (sys.executable, "-m", "supervisor", "run")


@nginxes
def test_a_stopped_supervisor_delays_no_request(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    With a full pipe nginx would stall after 880 requests.  With the supervisor stopped 6,000 are
    answered, and they are logged when it continues.
    """
    subject = start_with_access_log(supervise, nginx, *replicas("one"))
    subject.signal(signal.SIGSTOP)
    try:
        assert send_pipelined(subject.port, 6000) < 3
        assert "one" == subject.get().text
    finally:
        subject.signal(signal.SIGCONT)
    eventually(lambda: len(access_lines(subject, "/-/ready")) >= 6000, 10)
    assert [] == subject.log_lines("log.dropped")


@nginxes
def test_a_stalled_stdout_delays_no_request(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    When stdout is a full pipe from the start, 6,000 requests are answered, endpoints change, the
    exit is on time, and dropped lines are counted.
    """
    one, two = replicas("one", "two")
    subject = start_with_access_log(supervise, nginx, one, stdout="unread")
    assert send_pipelined(subject.port, 6000) < 3
    subject.offer(two)
    eventually(lambda: subject.get().text == "two")
    log = subject.home / "run" / "access.log"
    eventually(lambda: log.stat().st_blocks * 512 <= 8192, 10, what="a log that was read")
    subject.signal(signal.SIGTERM)
    assert 0 == subject.wait(6)
    assert (subject.ended or {})["log_lines_dropped"] > 4000


@pytest.mark.slow
@nginxes
def test_file_and_memory_do_not_grow(
    supervise: Supervise, replicas: Replicas, nginx: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Over tens of thousands of requests bytes that were read are released, since the disk is usually
    memory, and each request is logged.
    """
    subject = start_with_access_log(supervise, nginx, *replicas("one"))
    log = subject.home / "run" / "access.log"
    process = psutil.Process(subject.pid)
    send_pipelined(subject.port, 2000)
    eventually(lambda: len(access_lines(subject, "/-/ready")) >= 2000, 10)
    before, max_used = process.memory_info().rss, 0
    batches = 24 if nginx == current() else 9  # an older nginx takes a connection for each
    for _ in range(batches):
        send_pipelined(subject.port, 2000)
        max_used = max(max_used, log.stat().st_blocks * 512)
    total = 2000 * (batches + 1)
    eventually(lambda: len(access_lines(subject, "/-/ready")) >= total, 20)
    eventually(lambda: log.stat().st_blocks * 512 <= 8192)
    grown = process.memory_info().rss - before
    with capsys.disabled():
        name = nginx.rsplit("/", 1)[-1]
        sys.stdout.write(f"\n{name}: RSS {before >> 10} kB, after {total} +{grown >> 10} kB\n")
    assert log.stat().st_size > total * 200
    assert max_used < 34 << 20  # the limit of unread bytes, and one second of nginx's buffers
    assert grown < 6 << 20
    assert [] == [*subject.log_lines("log.dropped"), *subject.log_lines("access.unreadable")]


def with_file_system(kind: str, options: str) -> tuple[str, ...]:
    """
    Return the command that starts the program with its own file system in RUNTIME_DIR.
    """
    mount = f'mkdir -p "$RUNTIME_DIR"; mount -t {kind} -o {options} ax "$RUNTIME_DIR"; exec "$@"'
    return ("sh", "-ec", f"{mount}", "sh", *RUN)


def log_inside(subject: Supervised) -> Path:
    """
    Return the path of the access log in the program's mount namespace.
    """
    return Path(f"/proc/{subject.pid}/root{subject.home}/run/access.log")


@nginxes
@pytest.mark.skipif(bool(why_no_unshare()), reason=why_no_unshare())
def test_without_hole_punching_the_file_is_truncated(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, nginx: str
) -> None:
    """
    On a file system without holes the file is truncated whenever all of it was read.
    """
    command = with_file_system("ramfs", "mode=711")
    subject = start_with_access_log(
        supervise, nginx, *replicas("one"), pid1=True, subject=Ours(nomad, command=command)
    )
    for _ in range(5):
        send_pipelined(subject.port, 2000)
    eventually(lambda: len(access_lines(subject, "/-/ready")) >= 10_000, 20)
    eventually(lambda: 0 == log_inside(subject).stat().st_size)
    assert 10_000 == len(access_lines(subject, "/-/ready"))


@nginxes
@pytest.mark.skipif(bool(why_no_unshare()), reason=why_no_unshare())
def test_a_full_disk_loses_lines_but_no_requests(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, nginx: str
) -> None:
    """
    Requests are still answered, and they are logged again when the disk has space.
    """
    command = with_file_system("tmpfs", "size=1m,mode=711")
    subject = start_with_access_log(
        supervise, nginx, *replicas("one"), pid1=True, subject=Ours(nomad, command=command)
    )
    filler = log_inside(subject).with_name("filler")
    subject.run_inside(f"dd if=/dev/zero of={subject.home}/run/filler bs=4k || true")
    assert filler.stat().st_size > 500_000
    assert send_pipelined(subject.port, 3000) < 3
    assert "one" == subject.get("/full").text
    subject.run_inside(f"rm {subject.home}/run/filler")

    def is_logged_again() -> bool:
        subject.get("/again")
        return bool(access_lines(subject, "/again"))

    eventually(is_logged_again, 10, 0.2)
    assert len(access_lines(subject, "/-/ready")) < 3000
    assert [] == subject.other_lines
