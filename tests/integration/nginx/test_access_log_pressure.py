"""
The access log under pressure: nobody reads, the disk is full, requests come by the thousand.
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
def test_a_stopped_supervisor_holds_up_no_request(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    Nginx would stall after 880 requests in front of a full pipe.  With the supervisor stopped 6,000
    pass, and are told once it goes on.
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
def test_a_stdout_that_nobody_reads_holds_up_no_request(
    supervise: Supervise, replicas: Replicas, nginx: str
) -> None:
    """
    With stdout a pipe that was full from the start 6,000 requests pass, endpoints change, and it
    ends on time; what could not be told is counted.
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


@nginxes
def test_the_file_does_not_grow_nor_does_the_supervisor(
    supervise: Supervise, replicas: Replicas, nginx: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    Through tens of thousands of requests: what has been read is given back, since the disk is
    memory usually, and each request is told.
    """
    subject = start_with_access_log(supervise, nginx, *replicas("one"))
    log = subject.home / "run" / "access.log"
    process = psutil.Process(subject.pid)
    send_pipelined(subject.port, 2000)
    eventually(lambda: len(access_lines(subject, "/-/ready")) >= 2000, 10)
    before, most = process.memory_info().rss, 0
    batches = 24 if nginx == current() else 9  # an older nginx takes a connection for each
    for _ in range(batches):
        send_pipelined(subject.port, 2000)
        most = max(most, log.stat().st_blocks * 512)
    total = 2000 * (batches + 1)
    eventually(lambda: len(access_lines(subject, "/-/ready")) >= total, 20)
    eventually(lambda: log.stat().st_blocks * 512 <= 8192)
    grown = process.memory_info().rss - before
    with capsys.disabled():
        name = nginx.rsplit("/", 1)[-1]
        sys.stdout.write(f"\n{name}: RSS {before >> 10} kB, after {total} +{grown >> 10} kB\n")
    assert log.stat().st_size > total * 200
    assert most < 34 << 20  # at worst what is not caught up with, and a second of nginx's buffers
    assert grown < 6 << 20
    assert [] == [*subject.log_lines("log.dropped"), *subject.log_lines("access.unreadable")]


def on_a_disk(kind: str, options: str) -> tuple[str, ...]:
    """
    Return how to start it with a file system of its own in RUNTIME_DIR.
    """
    mount = f'mkdir -p "$RUNTIME_DIR"; mount -t {kind} -o {options} ax "$RUNTIME_DIR"; exec "$@"'
    return ("sh", "-ec", f"{mount}", "sh", *RUN)


def log_seen_inside(subject: Supervised) -> Path:
    """
    Return its access log, on a disk that only it sees.
    """
    return Path(f"/proc/{subject.pid}/root{subject.home}/run/access.log")


@nginxes
@pytest.mark.skipif(bool(why_no_unshare()), reason=why_no_unshare())
def test_where_nothing_can_be_given_back_the_file_is_emptied(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, nginx: str
) -> None:
    """
    A file system without holes: the file is emptied whenever all of it was read.
    """
    command = on_a_disk("ramfs", "mode=711")
    subject = start_with_access_log(
        supervise, nginx, *replicas("one"), pid1=True, subject=Ours(nomad, command=command)
    )
    for _ in range(5):
        send_pipelined(subject.port, 2000)
    eventually(lambda: len(access_lines(subject, "/-/ready")) >= 10_000, 20)
    eventually(lambda: 0 == log_seen_inside(subject).stat().st_size)
    assert 10_000 == len(access_lines(subject, "/-/ready"))


@nginxes
@pytest.mark.skipif(bool(why_no_unshare()), reason=why_no_unshare())
def test_a_full_disk_costs_lines_and_no_requests(
    supervise: Supervise, nomad: FakeNomad, replicas: Replicas, nginx: str
) -> None:
    """
    Requests are answered all the same, and told again when there is room.
    """
    command = on_a_disk("tmpfs", "size=1m,mode=711")
    subject = start_with_access_log(
        supervise, nginx, *replicas("one"), pid1=True, subject=Ours(nomad, command=command)
    )
    filler = log_seen_inside(subject).with_name("filler")
    subject.run_inside(f"dd if=/dev/zero of={subject.home}/run/filler bs=4k || true")
    assert filler.stat().st_size > 500_000
    assert send_pipelined(subject.port, 3000) < 3
    assert "one" == subject.get("/full").text
    subject.run_inside(f"rm {subject.home}/run/filler")

    def told_again() -> bool:
        subject.get("/again")
        return bool(access_lines(subject, "/again"))

    eventually(told_again, 10, 0.2)
    assert len(access_lines(subject, "/-/ready")) < 3000
    assert [] == subject.other_lines
