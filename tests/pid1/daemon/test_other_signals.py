"""
Signals other than stop signals, one by one and a hundred thousand at a time.
"""

import os
import signal
from collections.abc import Callable

import psutil

from tests.support.fake_nomad import FakeNomad
from tests.support.replica import Replica
from tests.support.supervised import Supervised
from tests.support.waiting import eventually

Replicas = Callable[..., list[Replica]]
Serve = Callable[..., Supervised]

SIGNALS = 100_000
MEGABYTE = 1 << 20


def nginx_of(subject: Supervised) -> tuple[int | None, list[int]]:
    """
    Return the pids of nginx; the same pids later mean that it was neither reloaded nor replaced.
    """
    return subject.nginx_master(), subject.nginx_workers()


def test_P06_hup_queries_nomad_again(nomad: FakeNomad, serve: Serve, replicas: Replicas) -> None:
    """
    After a HUP Nomad is queried at once and without an index; an unchanged result is not applied
    again, nginx is not signalled, and no process exits.
    """
    subject = serve(*replicas("one"))
    before = nginx_of(subject)
    eventually(lambda: nomad.blocked)
    sent = len(nomad.requests)
    subject.signal(signal.SIGHUP)
    eventually(lambda: len(nomad.requests) > sent, 1.0)

    assert nomad.requests[sent].query.get("index", "0") == "0"
    subject.wait_for_log("reload.unchanged", 2.0)
    assert before == nginx_of(subject)
    assert 1 == len(subject.log_lines("reload.applied"))
    assert subject.running


def test_P06_hup_reads_included_files_again(serve: Serve, replicas: Replicas) -> None:
    """
    A HUP applies any change in an operator's file, even one byte of a comment; without a change
    nginx is not signalled.
    """
    subject = serve(*replicas("one"))
    for number, (folder, text) in enumerate(
        [
            ("server.d", "add_header X-More one always;\n"),
            ("server.d", "add_header X-More two always;\n"),
            ("conf.d", "# a comment\n"),
            ("conf.d", "# a komment\n"),
        ],
        start=2,
    ):
        before = nginx_of(subject)
        subject.write_in(folder, "more.conf", text)  # type: ignore[arg-type]
        subject.signal(signal.SIGHUP)
        eventually(lambda wanted=number: len(subject.log_lines("reload.applied")) == wanted, 5)

        assert before[0] == nginx_of(subject)[0]
        eventually(lambda old={*before[1]}: old.isdisjoint(subject.nginx_workers()), 2)
    assert "two" == subject.get().headers["X-More"]
    before = nginx_of(subject)
    subject.signal(signal.SIGHUP)
    subject.wait_for_log("reload.unchanged", 2.0)
    assert before == nginx_of(subject)
    assert subject.running


def test_P06_hup_reads_the_endpoints_file_again(prepare: Serve, replicas: Replicas) -> None:
    """
    A HUP reads ENDPOINTS_FILE even if its size and time are unchanged.
    """
    one, two = replicas("one", "two")
    subject = prepare(one)
    path = subject.home / "endpoints"
    path.write_text(f"127.0.0.1:{one.port:05}\n")
    os.utime(path, (1, 1))
    subject.settings["ENDPOINTS_FILE"] = str(path)
    subject.start().ready(status=200)
    with path.open("r+") as file:  # the same file, size and time: only its bytes differ
        file.write(f"127.0.0.1:{two.port:05}\n")
    os.utime(path, (1, 1))
    subject.signal(signal.SIGHUP)

    eventually(lambda: subject.get().text == "two", 3.0)
    assert subject.running


def test_P06_usr1_makes_nginx_reopen_its_logs(serve: Serve, replicas: Replicas) -> None:
    """
    USR1 is passed on to nginx, which reopens its log files after a rotation.
    """
    subject = serve(*replicas("one"))
    log, old = subject.home / "access.log", {*subject.nginx_workers()}
    subject.write_in("server.d", "log.conf", f'access_log "{log}";\n')
    subject.signal(signal.SIGHUP)
    eventually(lambda: 2 == len(subject.log_lines("reload.applied")))
    eventually(lambda: old.isdisjoint(subject.nginx_workers()))
    eventually(lambda: subject.get() and "GET" in log.read_text())
    before = nginx_of(subject)
    log.rename(log.with_suffix(".1"))
    subject.signal(signal.SIGUSR1)

    eventually(lambda: subject.get() and "GET" in log.read_text())
    assert before == nginx_of(subject)
    assert subject.running


def test_P06_usr2_logs_the_state_and_winch_is_ignored(serve: Serve, replicas: Replicas) -> None:
    """
    USR2 logs one line with the whole state; WINCH and the other signals are ignored.  None of them
    reaches nginx.
    """
    subject = serve(*replicas("one"), TTL="1h")
    before = nginx_of(subject)
    subject.signal(
        signal.SIGWINCH, signal.SIGALRM, signal.SIGIO, signal.SIGPIPE, signal.SIGTTIN,
        signal.SIGTTOU, signal.SIGTSTP, signal.SIGURG, signal.SIGVTALRM, signal.SIGXCPU,
        signal.SIGCONT, signal.SIGRTMIN, signal.SIGUSR2,
    )  # fmt: skip
    line = subject.wait_for_log("status", 2.0)

    assert ("running", "up", 1) == (line["phase"], line["nginx"], line["endpoints"])
    assert 3500 < line["remaining"] <= 3600
    assert before == nginx_of(subject)
    assert "one" == subject.get().text
    assert subject.running


def test_P22_a_storm_of_signals_costs_little(
    nomad: FakeNomad, serve: Serve, replicas: Replicas
) -> None:
    """
    A hundred thousand signals while the endpoints change: memory does not grow, the work ends with
    the signals, few lines are logged, and the last endpoints are served.
    """
    one, two, three = replicas("one", "two", "three")
    subject = serve(one)
    process = psutil.Process(subject.pid)
    rss_before = process.memory_info().rss
    numbers = (
        signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCHLD,
    )  # fmt: skip
    master = subject.nginx_master()
    for sent in range(0, SIGNALS, len(numbers)):
        subject.signal(*numbers)
        if sent % (SIGNALS // 20) == 0:
            subject.offer(*((one, two) if sent % (SIGNALS // 10) else (two, three)))
    subject.offer(three)
    spent = processor_time(process)

    eventually(lambda: subject.get().text == "three", 5.0)
    eventually(lambda: nomad.blocked and is_idle(process), 5.0, 0.2, "idle after the signals")
    assert processor_time(process) - spent < 0.5
    assert len(subject.logs) < SIGNALS / 20
    assert process.memory_info().rss - rss_before < 8 * MEGABYTE
    assert master == subject.nginx_master()
    assert [] == subject.log_lines("reload.failed")
    assert subject.running
    assert [three.name] * 10 == [subject.get().text for _ in range(10)]


def processor_time(process: psutil.Process) -> float:
    """
    Return the processor time that a process has used, in seconds.
    """
    times = process.cpu_times()
    return float(times.user + times.system)


def is_idle(process: psutil.Process) -> bool:
    """
    Whether a process uses less than 5 % of a processor for half a second.
    """
    return bool(process.cpu_percent(interval=0.5) < 5)
