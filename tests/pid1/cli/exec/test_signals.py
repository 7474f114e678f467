"""
Signals forwarded to the command of `exec`, and the steps of a stop.
"""

import os
import signal
from collections.abc import Callable

import pytest

from tests.support.exec_process import EXEC, ExecProcess, trapping
from tests.support.waiting import eventually

RunExec = Callable[..., ExecProcess]

IGNORES = trapping("TERM", "INT", "QUIT")

#: Two signals below the real-time ones: glibc reserves them for its threads, and programs started
#: by posix_spawn, as by make, inherit them ignored.
GLIBC_SIGNALS = 0b11 << 31


@pytest.mark.parametrize("name", ["HUP", "USR1", "USR2", "WINCH", "ALRM", "CONT"])
def test_other_signals_are_forwarded(run_exec: RunExec, name: str) -> None:
    """
    A signal that is not a stop signal is forwarded to the command unchanged.
    """
    subject = run_exec(*trapping(name, "TERM", then="case $- in *) ;; esac"))
    subject.wait_for_text("ready")
    subject.signal(getattr(signal, f"SIG{name}"))

    subject.wait_for_text(f"got-{name}")
    assert not subject.run.exited.is_set()


def test_a_signal_goes_to_the_command_and_not_to_its_workers(run_exec: RunExec) -> None:
    """
    Only the server gets TERM, once: it stops its own workers.
    """
    worker = "trap 'echo worker-got-TERM' TERM; echo worker; while :; do sleep 0.05; done"
    server = (
        f"trap 'echo server-got-TERM; kill -9 $!; exit 0' TERM; sh -c \"{worker}\" & wait; wait"
    )
    subject = run_exec("sh", "-c", server)
    subject.wait_for_text("worker")
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(3)
    assert ["worker", "server-got-TERM"] == subject.output
    assert subject.run_time() < 3


def test_workers_that_outlive_a_stopped_command_may_finish(run_exec: RunExec) -> None:
    """
    A shell that dies of TERM without passing it on leaves its server, which then gets TERM and has
    the remaining time.
    """
    server = (
        "trap 'sleep 0.5; echo finished; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    )
    subject = run_exec("sh", "-c", f'sh -c "{server}"; true')
    subject.wait_for_text("ready")
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(4)
    assert "finished" in subject.output
    assert 143 == subject.ended["command_code"]
    assert "killed" not in subject.ended


@pytest.mark.parametrize("pid1", [True, False])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_command_ignoring_stop_is_killed_in_time(
    run_exec: RunExec, signum: int, *, pid1: bool
) -> None:
    """
    STOP_TIMEOUT is a total: a command that ignores stop signals is gone by then, with its children;
    exit code 0.
    """
    subject = run_exec(*IGNORES, STOP_TIMEOUT="2s", pid1=pid1)
    subject.wait_for_text("ready")
    subject.signal(signum)
    left = [p.pid for p in subject.processes()]

    assert 0 == subject.wait(2.2)
    assert (137, "stop signal") == (subject.ended["command_code"], subject.ended["reason"])
    assert 1.6 <= subject.ended["drained_in"] <= 2.0
    assert not any(map(exists, left))


def test_the_default_is_below_nomads_kill_timeout(run_exec: RunExec) -> None:
    """
    The default of STOP_TIMEOUT is four seconds, one less than Nomad's kill_timeout.
    """
    subject = run_exec(*IGNORES)
    subject.wait_for_text("ready")
    subject.signal(signal.SIGTERM)

    assert 0 == subject.wait(4.5)
    assert 3.6 <= subject.ended["drained_in"] <= 4.0


def test_an_ignored_int_is_followed_by_a_term(run_exec: RunExec) -> None:
    """
    A shell's background jobs ignore INT, and raw_exec sends no other signal: TERM follows a second
    before the timeout, or half-way.
    """
    subject = run_exec("sh", "-c", "trap '' INT; echo ready; exec sleep 60", STOP_TIMEOUT="2s")
    subject.wait_for_text("ready")
    subject.signal(signal.SIGINT)

    assert 0 == subject.wait(3)
    assert 143 == subject.ended["command_code"]
    assert 0.9 <= subject.ended["drained_in"] <= 1.5


def test_a_second_stop_is_fast_and_a_third_immediate(run_exec: RunExec) -> None:
    """
    A second stop signal is forwarded and leaves the command 0.9 s; a third leaves it none.
    """
    two = run_exec(*IGNORES, STOP_TIMEOUT="30s")
    two.wait_for_text("ready")
    two.signal(signal.SIGTERM)
    two.wait_for_text("got-TERM")
    two.signal(signal.SIGINT)
    two.wait_for_text("got-INT")
    assert 0 == two.wait(1.5)
    assert ["ready", "got-TERM", "got-INT"] == two.output  # and no second TERM

    same = run_exec(*IGNORES, STOP_TIMEOUT="30s")
    same.wait_for_text("ready")
    same.signal(signal.SIGTERM)
    same.wait_for_text("got-TERM")
    same.signal(signal.SIGTERM)
    eventually(lambda: 2 == same.output.count("got-TERM"))  # the second is forwarded
    assert 0 == same.wait(1.5)

    three = run_exec(*IGNORES, STOP_TIMEOUT="30s")
    three.wait_for_text("ready")
    for stops in range(1, 4):
        three.signal(signal.SIGTERM)
        eventually(lambda n=stops: n <= stop_signals(three))
    assert 0 == three.wait(0.7)


def stop_signals(subject: ExecProcess) -> int:
    """
    Return the number of stop signals it has handled.
    """
    return sum(line["event"] in {"draining", "stop.escalated"} for line in subject.lines)


@pytest.mark.parametrize("pid1", [True, False])
def test_a_suspended_command_is_resumed_for_a_stop(run_exec: RunExec, pid1: bool) -> None:  # noqa: FBT001
    """
    A command suspended by SIGSTOP handles TERM only when it runs again: it gets SIGCONT, and exits
    by itself.
    """
    subject = run_exec(*trapping("TERM", then="exit 5"), TTL="2s", pid1=pid1)
    subject.wait_for_text("ready")
    inside = subject.wait_for_line("exec.started")["pid"]
    command = next(p.pid for p in subject.processes() if inside in {p.inside, p.pid})
    os.kill(command, signal.SIGSTOP)

    assert 0 == subject.wait(4)
    assert ("deadline", 5) == (subject.ended["reason"], subject.ended["command_code"])


def test_the_command_starts_with_default_signals(run_exec: RunExec) -> None:
    """
    The command blocks and ignores no signal, and leads its own process group.
    """
    subject = run_exec(
        "sh", "-c", "grep -E '^Sig(Blk|Ign)' /proc/self/status; ps -o pgid= -p $$; echo $$"
    )

    assert 0 == subject.wait()
    blocked, ignored, group, pid = (line.split()[-1] for line in subject.output)
    assert 0 == int(blocked, 16) == int(ignored, 16) & ~GLIBC_SIGNALS
    assert group == pid


def test_a_hangup_that_nohup_ignores_stays_ignored(run_exec: RunExec) -> None:
    """
    Under nohup the command still ignores SIGHUP.
    """
    subject = run_exec("grep", "^SigIgn", "/proc/self/status", exec_words=("nohup", *EXEC))

    assert 0 == subject.wait()
    assert 1 == int(subject.output[0].split()[-1], 16) & ~GLIBC_SIGNALS


def exists(pid: int) -> bool:
    """
    Whether a process exists.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
